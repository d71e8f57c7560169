"""LeRobot datasets by hand, from the description of the format: pyarrow for tables, PyAV for films.

The picture of a frame tells which one it is: red and green are its number, blue its episode and its
camera, and the left half is darker, the upper quarter black. Numbers tell theirs exactly.
"""

import io
import json

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

H, W = 32, 48
FPS = 10
CAMERAS = ("observation.images.top", "observation.images.wrist")
OUTCOMES = ("next.reward", "next.done", "next.truncated")


def picture(episode, frame, camera=0):
    """uint8 [h, w, 3]."""
    out = np.empty((H, W, 3), np.uint8)
    out[...] = [30 + 5 * frame, 30 + 5 * frame, 50 + 40 * episode + 20 * camera]
    out[:, : W // 2] //= 2
    out[: H // 4] = 0
    return out


def which(pictures):
    """Number of the frame of each picture [T, 3, h, w]."""
    bright = pictures[:, :2, H // 2 :, W // 2 + 4 :].astype(float).mean((1, 2, 3))
    return np.round((bright - 30) / 5).astype(int)


def whose(pictures):
    """Twice the episode of each picture [T, 3, h, w], and one more of the second camera."""
    blue = pictures[:, 2, H // 2 :, W // 2 + 4 :].astype(float).mean((1, 2))
    return np.round((blue - 50) / 20).astype(int)


def state(episode, frames):
    t = np.arange(frames)[:, None]
    return (100 * episode + t + [0.0, 0.25, 0.5]).astype(np.float32)


def action(episode, frames):
    t = np.arange(frames)[:, None]
    return (1000 * episode + t + [0.5, 0.75]).astype(np.float32)


def reward(episode, frames):
    return (episode + np.arange(frames) / 8).astype(np.float32)


def film(target, pictures, fps=FPS, codec="libx264", **options):
    """An MP4 of pictures [h, w, 3] in a file or a buffer."""
    with av.open(target, "w", format="mp4") as container:
        stream = container.add_stream(codec, fps, options={"crf": "5", "g": "4", **options})
        stream.width, stream.height, stream.pix_fmt = W, H, "yuv420p"
        for each in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(each, format="rgb24")))
        container.mux(stream.encode())


def png(pixels, kind="PNG"):
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def feature(dtype, *shape, names=None):
    return {"dtype": dtype, "shape": list(shape), "names": names}


def info(version="v3.0", outcomes=OUTCOMES, cameras=CAMERAS, kind="video", **changes):
    """meta/info.json as a dict."""
    axes = ["height", "width", "channels"]
    features = {key: feature(kind, H, W, 3, names=axes) for key in cameras}
    features |= {
        "observation.state": feature("float32", 3, names={"motors": ["x", "y", "z"]}),
        "observation.gripper": feature("bool", 1),
        "observation.count": feature("int64", 1),
        "action": feature("float32", 2, names=["dx", "dy"]),
        "language": feature("string", 1),
    }
    kinds = {"next.reward": "float32", "next.done": "bool", "next.truncated": "bool"}
    features |= {key: feature(kinds[key], 1) for key in outcomes}
    features |= {"timestamp": feature("float32", 1)}
    names = ("frame_index", "episode_index", "index", "task_index")
    features |= {key: feature("int64", 1) for key in names}
    new = version == "v3.0"
    old_part = "chunk-{episode_chunk:03d}"
    return {
        "codebase_version": version,
        "robot_type": "arm",
        "fps": FPS,
        "features": features,
        "total_episodes": 0,
        "total_frames": 0,
        "chunks_size": 1000,
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
        if new
        else f"data/{old_part}/episode_{{episode_index:06d}}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
        if new
        else f"videos/{old_part}/{{video_key}}/episode_{{episode_index:06d}}.mp4",
        **changes,
    }


def rows(about, episode, frames, first=0):
    """The table of one episode; the last frame is done, and of even episodes truncated too."""
    t, end = np.arange(frames), np.arange(frames) == frames - 1
    columns = {
        "observation.state": pa.FixedSizeListArray.from_arrays(state(episode, frames).ravel(), 3),
        "observation.gripper": t % 3 == 0,
        "observation.count": t * 7,
        "action": pa.array(list(action(episode, frames))),
        "language": ["push"] * frames,
        "next.reward": reward(episode, frames),
        "next.done": end,
        "next.truncated": end & (episode % 2 == 0),
        "timestamp": (t / about["fps"]).astype(np.float32),
        "frame_index": t,
        "episode_index": np.full(frames, episode),
        "index": first + t,
        "task_index": np.full(frames, episode % 2),
    }
    found = {key: values for key, values in columns.items() if key in about["features"]}
    for number, key in enumerate(CAMERAS):
        if about["features"].get(key, {}).get("dtype") == "image":
            encoded = [{"bytes": png(picture(episode, f, number)), "path": None} for f in t]
            found[key] = pa.array(
                encoded, pa.struct([("bytes", pa.binary()), ("path", pa.string())])
            )
    return pa.table(found)


def task(episode):
    return f"push {episode % 2}"


def save(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content) if isinstance(content, dict) else content)


def save_table(path, table, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, **options)


def save_film(path, pictures, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    film(str(path), pictures, **options)


def new(root, lengths=(6, 9, 7), per_file=2, group=5, film_options=None, **about):
    """A v3.0 dataset of episodes of these lengths; returns its info."""
    about = info("v3.0", **about)
    about |= {"total_episodes": len(lengths), "total_frames": sum(lengths)}
    cameras = [key for key, f in about["features"].items() if f["dtype"] == "video"]
    table = []
    for low in range(0, len(lengths), per_file):
        some = list(range(low, min(low + per_file, len(lengths))))
        file = low // per_file
        starts = np.cumsum([0, *(lengths[e] for e in some)])
        before = sum(lengths[:low])
        parts = [rows(about, e, lengths[e], before) for e in some]
        path = f"chunk-000/file-{file:03d}"
        save_table(root / f"data/{path}.parquet", pa.concat_tables(parts), row_group_size=group)
        for key in cameras:
            pictures = [picture(e, f, CAMERAS.index(key)) for e in some for f in range(lengths[e])]
            target = root / f"videos/{key}/{path}.mp4"
            save_film(target, pictures, **{"fps": about["fps"], **(film_options or {})})
        for episode, start in zip(some, starts, strict=False):
            row = {"episode_index": episode, "length": lengths[episode], "tasks": [task(episode)]}
            row |= {"data/chunk_index": 0, "data/file_index": file, "stats/action/mean": [0.0]}
            for key in cameras:
                where = f"videos/{key}"
                row |= {f"{where}/chunk_index": 0, f"{where}/file_index": file}
                row[f"{where}/from_timestamp"] = start / about["fps"]
            table.append(row)
    save(root / "meta/info.json", about)
    save_table(root / "meta/episodes/chunk-000/file-000.parquet", pa.Table.from_pylist(table))
    tasks = {"task_index": [0, 1], "__index_level_0__": [task(0), task(1)]}
    save_table(root / "meta/tasks.parquet", pa.table(tasks))
    return about


def old(root, lengths=(6, 9, 7), **about):
    """A v2.1 dataset, two episodes to a chunk; returns its info."""
    about = info("v2.1", **{"chunks_size": 2, **about})
    about |= {"total_episodes": len(lengths), "total_frames": sum(lengths)}
    lines = []
    for episode, length in enumerate(lengths):
        chunk = f"chunk-{episode // 2:03d}"
        path = root / f"data/{chunk}/episode_{episode:06d}.parquet"
        save_table(path, rows(about, episode, length))
        for number, key in enumerate(CAMERAS):
            if about["features"].get(key, {}).get("dtype") == "video":
                pictures = [picture(episode, f, number) for f in range(length)]
                save_film(root / f"videos/{chunk}/{key}/episode_{episode:06d}.mp4", pictures)
        lines.append({"episode_index": episode, "tasks": [task(episode)], "length": length})
    save(root / "meta/info.json", about)
    save(root / "meta/episodes.jsonl", "\n".join(json.dumps(line) for line in lines) + "\n")
    tasks = [{"task_index": n, "task": task(n)} for n in (0, 1)]
    save(root / "meta/tasks.jsonl", "\n".join(json.dumps(line) for line in tasks))
    return about


def change(root, **changes):
    """Change fields of meta/info.json."""
    path = root / "meta/info.json"
    save(path, json.loads(path.read_text()) | changes)
