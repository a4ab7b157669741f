"""Bad input as a contract: good calls of every public name, and what mutations of them do."""
