"""`python -m invdesign`; the package itself has taken the working folder out of the path."""

from invdesign.cli import main

if __name__ == "__main__":
    main()
