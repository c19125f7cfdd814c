"""What every backend promises, as tests that anybody can run on a backend of their own.

It needs pytest and pytest-trio, which MatterStack itself does not.  ``docs/new-backend.md`` says how.
"""

import pytest

pytest.register_assert_rewrite("matterstack.backends.contract.bench", "matterstack.backends.contract.suite")
