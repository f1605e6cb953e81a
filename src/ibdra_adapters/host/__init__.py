"""The host as it is looked at by `ibdra doctor` and left by `ibdra cleanup`; the same in memory."""
