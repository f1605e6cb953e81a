"""The admission webhook: reviews over HTTPS in, verdicts of the domain out."""
