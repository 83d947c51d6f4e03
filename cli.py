"""The command line, run as `python cli.py …` or, installed, as `viptt …`."""

from console.app import main

if __name__ == "__main__":
    main()
