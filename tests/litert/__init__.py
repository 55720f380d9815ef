"""LiteRT: real inference with small models that scripts/litert_models.py makes."""

import pytest

pytest.importorskip("ai_edge_litert", reason="ai-edge-litert is not installed (golek[litert])")
