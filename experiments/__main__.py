import sys

from experiments.runner import main

# Worker processes import this module too.
if __name__ == "__main__":
    sys.exit(main())
