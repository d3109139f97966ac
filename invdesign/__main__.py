"""`python -m invdesign`."""

from invdesign.cli import main

if __name__ == "__main__":
    main()
