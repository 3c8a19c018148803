"""`python -m cellrot_train`, which is also what torchrun starts."""

from cellrot_train.cli import main

if __name__ == "__main__":
    main()
