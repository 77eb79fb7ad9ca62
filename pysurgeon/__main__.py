"""`python -m pysurgeon`."""

from pysurgeon.cli import main

if __name__ == "__main__":
    main()
