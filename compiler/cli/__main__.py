"""`python -m dskc.compiler.cli`."""

import sys

from . import main

sys.exit(main())
