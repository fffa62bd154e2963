"""`python -m emdenoise` is the same program as the command `emdenoise`."""

from emdenoise.cli import main

if __name__ == "__main__":
    main()
