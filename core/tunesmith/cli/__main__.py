"""``python -m tunesmith.cli`` is the command ``tunesmith``."""

import sys

from tunesmith.cli import main

sys.exit(main())
