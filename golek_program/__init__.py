"""What every program of Golek's has, whatever it does: settings, a log, HTTP."""
