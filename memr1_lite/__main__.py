"""``python -m memr1_lite`` is the ``memr1`` command."""

from memr1_lite.cli import main

if __name__ == "__main__":
    main(prog_name="memr1")
