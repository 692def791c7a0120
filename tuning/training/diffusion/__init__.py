"""Training of pixel models on a noise schedule: plain, fine-tuned, with perturbed inputs, adversarial."""
