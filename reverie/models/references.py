"""The papers behind the families, in BibTeX: one bibliography, and what a model rests on."""

from __future__ import annotations

from typing import Any

BIBLIOGRAPHY: dict[str, str] = {
    "hafner2019planet": """@inproceedings{hafner2019planet,
  title = {Learning Latent Dynamics for Planning from Pixels},
  author = {Hafner, Danijar and Lillicrap, Timothy and Fischer, Ian and Villegas, Ruben and
            Ha, David and Lee, Honglak and Davidson, James},
  booktitle = {International Conference on Machine Learning},
  year = {2019}
}""",
    "hafner2023dreamerv3": """@article{hafner2023dreamerv3,
  title = {Mastering Diverse Domains through World Models},
  author = {Hafner, Danijar and Pasukonis, Jurgis and Ba, Jimmy and Lillicrap, Timothy},
  journal = {arXiv preprint arXiv:2301.04104},
  year = {2023}
}""",
    "hu2018mlsmpm": """@article{hu2018mlsmpm,
  title = {A Moving Least Squares Material Point Method with Displacement Discontinuity and
           Two-Way Rigid Body Coupling},
  author = {Hu, Yuanming and Fang, Yu and Ge, Ziheng and Qu, Ziyin and Zhu, Yixin and
            Pradhana, Andre and Jiang, Chenfanfu},
  journal = {ACM Transactions on Graphics},
  year = {2018}
}""",
    "featherstone2008": """@book{featherstone2008,
  title = {Rigid Body Dynamics Algorithms},
  author = {Featherstone, Roy},
  publisher = {Springer},
  year = {2008}
}""",
    "hansen2024tdmpc2": """@inproceedings{hansen2024tdmpc2,
  title = {{TD-MPC2}: Scalable, Robust World Models for Continuous Control},
  author = {Hansen, Nicklas and Su, Hao and Wang, Xiaolong},
  booktitle = {International Conference on Learning Representations},
  year = {2024}
}""",
    "todorov2012mujoco": """@inproceedings{todorov2012mujoco,
  title = {{MuJoCo}: A Physics Engine for Model-Based Control},
  author = {Todorov, Emanuel and Erez, Tom and Tassa, Yuval},
  booktitle = {IEEE/RSJ International Conference on Intelligent Robots and Systems},
  year = {2012}
}""",
    "yang2024unisim": """@inproceedings{yang2024unisim,
  title = {Learning Interactive Real-World Simulators},
  author = {Yang, Sherry and Du, Yilun and Ghasemipour, Kamyar and Tompson, Jonathan and
            Kaelbling, Leslie and Schuurmans, Dale and Abbeel, Pieter},
  booktitle = {International Conference on Learning Representations},
  year = {2024}
}""",
    "alonso2024diamond": """@inproceedings{alonso2024diamond,
  title = {Diffusion for World Modeling: Visual Details Matter in {Atari}},
  author = {Alonso, Eloi and Jelley, Adam and Micheli, Vincent and Kanervisto, Anssi and
            Storkey, Amos and Pearce, Tim and Fleuret, Fran{\\c{c}}ois},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2024}
}""",
    "chen2024diffusionforcing": """@inproceedings{chen2024diffusionforcing,
  title = {Diffusion Forcing: Next-token Prediction Meets Full-Sequence Diffusion},
  author = {Chen, Boyuan and Mons{\\'o}, Diego Mart{\\'i} and Du, Yilun and Simchowitz, Max and
            Tedrake, Russ and Sitzmann, Vincent},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2024}
}""",
    "frans2025shortcut": """@inproceedings{frans2025shortcut,
  title = {One Step Diffusion via Shortcut Models},
  author = {Frans, Kevin and Hafner, Danijar and Levine, Sergey and Abbeel, Pieter},
  booktitle = {International Conference on Learning Representations},
  year = {2025}
}""",
    "hafner2025dreamer4": """@article{hafner2025dreamer4,
  title = {Training Agents Inside of Scalable World Models},
  author = {Hafner, Danijar and Yan, Wilson and Lillicrap, Timothy},
  journal = {arXiv preprint arXiv:2509.24527},
  year = {2025}
}""",
}

RESTS_ON: dict[str, tuple[str, ...]] = {
    "dreamer": ("hafner2023dreamerv3", "hafner2019planet"),
    "oracle": ("todorov2012mujoco",),
    "physics": ("hu2018mlsmpm", "featherstone2008"),
    "tdmpc2": ("hansen2024tdmpc2",),
    "unisim": (
        "yang2024unisim",
        "alonso2024diamond",
        "chen2024diffusionforcing",
        "frans2025shortcut",
        "hafner2025dreamer4",
    ),
}
"""By family, the keys of the papers to cite."""


def cite(model: Any) -> str:
    """BibTeX entries of the papers that a model, or a family by its name, rests on.

    Raises:
        ValueError: it is of no family of this library.
    """
    name = model if isinstance(model, str) else _family(type(model).__module__)
    if name not in RESTS_ON:
        raise ValueError(
            f"{model if isinstance(model, str) else type(model).__name__!r} is of no family of "
            f"Reverie; cite(model) knows those of {', '.join(RESTS_ON)}."
        )
    return "\n\n".join(BIBLIOGRAPHY[key] for key in RESTS_ON[name])


def _family(module: str) -> str:
    root, _, rest = module.partition("reverie.models.")
    return "" if root else rest.partition(".")[0]
