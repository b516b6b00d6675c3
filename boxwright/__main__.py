"""`python -m boxwright`, which launchers such as torchrun need: the same as the installed command."""

from boxwright.cli.main import main

if __name__ == "__main__":
    main()
