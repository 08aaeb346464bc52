"""What a bank must survive: kills, full disks, read-only files, and many at once.

Run in full by ``make torture``; pytest runs it in a shortened form (``tests/test_torture.py``).
"""
