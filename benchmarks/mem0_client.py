"""The other side of ``mem0_remember.py``: mem0 with its own defaults, in an environment of its own.

Reads one JSON object per line, ``{"text", "speaker"}``, and adds it; answers each with the number of memories it made.
"""

import json
import sys


def main() -> None:
    """``python mem0_client.py URL FOLDER MODEL``."""
    from mem0 import Memory

    url, folder, model = sys.argv[1:]
    config = {
        "llm": {"provider": "openai", "config": {"model": model, "openai_base_url": url, "api_key": "none"}},
        "embedder": {
            "provider": "openai",
            "config": {"model": "stand-in", "openai_base_url": url, "api_key": "none", "embedding_dims": 384},
        },
        "vector_store": {
            "provider": "qdrant",
            "config": {"path": f"{folder}/qdrant", "embedding_model_dims": 384, "collection_name": "benchmark"},
        },
        "history_db_path": f"{folder}/history.db",
    }
    memory = Memory.from_config(config)
    print("ready", flush=True)
    for line in sys.stdin:
        turn = json.loads(line)
        results = memory.add([{"role": "user", "content": f"{turn['speaker']}: {turn['text']}"}], user_id="benchmark")
        print(len(results["results"]), flush=True)


if __name__ == "__main__":
    main()
