"""python -m nbnumba: the command line."""

import sys

from nbnumba.cli.main import main

sys.exit(main())
