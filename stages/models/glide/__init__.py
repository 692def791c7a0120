"""GLIDE (Nichol et al. 2021, arXiv:2112.10741): its network, its published checkpoints, and how it draws.

Written from the paper and for the checkpoints of github.com/openai/glide-text2im (MIT licence, (c) 2021 OpenAI), whose
code defines what their numbers mean; none of it is copied.
"""
