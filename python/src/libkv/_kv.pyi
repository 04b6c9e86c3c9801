# The extension module, which cffi makes of include/kv (build_kv.py).
from typing import Any

ffi: Any
lib: Any
