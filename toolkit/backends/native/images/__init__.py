"""What looks at the neighbours of an image's points: poolings and samplings."""
