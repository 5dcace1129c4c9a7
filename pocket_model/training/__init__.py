"""The training stages of the pocket model, one per module. `pocket_model.train` runs them in order."""
