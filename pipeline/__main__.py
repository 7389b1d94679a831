"""`python -m cinefeat.pipeline` is the command `cinefeat`."""

from cinefeat.pipeline.cli import main

if __name__ == "__main__":
    main()
