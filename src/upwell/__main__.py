"""`python -m upwell`, which torchrun takes too."""

from upwell.cli import main

if __name__ == "__main__":
    main()
