"""Bodies in pictures and videos.

    python -m tokenhmr_jax.predict --input=PHOTOS --out=RESULT

PHOTOS is an image, a folder, a glob or a video. inference/outputs/results.py documents the result.
The same command run again continues an interrupted result.
"""

from collections.abc import Sequence

from tokenhmr_jax import cli
from tokenhmr_jax.inference import smoothing
from tokenhmr_jax.inference.fitting import camera_choice
from tokenhmr_jax.inference.outputs import joint_files, meshes
from tokenhmr_jax.inference.people import finders
from tokenhmr_jax.inference.prediction import PredictSettings, predict_with_checkpoint


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; `arguments` are the process's own by default."""
    flags = cli.Flags(__doc__, arguments)
    checkpoint = flags.path(
        'checkpoint', 'bundled', "A regressor's workdir, or 'bundled', the package's own."
    )
    step = flags.string('step', 'best', "Which step: 'best', 'last', or its number.")
    path = flags.path('input', None, 'Image, folder, glob or video.', required=True)
    out = flags.path('out', None, 'Folder of the result.', required=True)
    prior = flags.path('prior', None, "A prior's workdir, for samples and refinement.")
    prior_steps = flags.integer(
        'prior_steps', 1, 'Parallel steps in which it refines pose tokens, too; 1 for none.'
    )
    settings = _setting_flags(flags)
    cache = flags.path('compilation_cache', cli.COMPILED, "Folder, or '' for none.")

    def command():
        cli.keep_compiled(cache.value)
        given = PredictSettings(*(flag.value for flag in settings))
        given = given._replace(
            fov=camera_choice.number_or_file(given.fov),
            meshes=tuple(given.meshes),
            format=tuple(given.format),
        )
        where = checkpoint.value, step.value, path.value, out.value
        found = predict_with_checkpoint(*where, given, prior.value, prior_steps.value)
        if not found['detections']:  # the report ends with advice
            return cli.Done(result=found)
        return cli.Done(out.value, cli.command_line('view', out.value), found)

    cli.run(flags, command, on_interrupt='interrupted; run the same command again to go on')


def _setting_flags(flags: cli.Flags) -> PredictSettings:
    """The flags of all settings, in place of their values."""
    default = PredictSettings()
    return PredictSettings(
        boxes=flags.path(
            'boxes',
            default.boxes,
            f"{', '.join(finders.DETECT)}, 'image' (all of it), or a .json, .csv or .npz file.",
        ),
        keypoints=flags.path(
            'keypoints', None, "A .json or .npz file, or OpenPose's folder; in place of --boxes."
        ),
        detector_weights=flags.path(
            'detector_weights', None, "File of torchvision's detector. Default: its download."
        ),
        focal_length=flags.number('focal_length', None, "Of the image's camera, pixels."),
        fov=flags.path(
            'fov', None, "Field of view across the image's width, degrees; or a .csv or .json file."
        ),
        camera_guess=flags.choice(
            'camera_guess',
            default.camera_guess,
            list(camera_choice.GUESSES),
            'Where nothing tells the camera: 55 degrees across the diagonal, an estimate from the '
            "people's 2D keypoints, or TokenHMR's.",
        ),
        batch_size=flags.integer(
            'batch_size', default.batch_size, 'Persons in a batch, a power of two.'
        ),
        meshes=flags.words('meshes', list(default.meshes), f'Of images, among {meshes.FORMATS}.'),
        format=flags.words(
            'format',
            list(default.format),
            f'Of the joints beside joints.npz, among {joint_files.FORMATS}.',
        ),
        overlays=flags.boolean('overlays', default.overlays, 'Draw the bodies over the pictures.'),
        all_probs=flags.boolean('all_probs', default.all_probs, "Write all codes' probabilities."),
        smoothing=flags.choice(
            'smoothing', default.smoothing, list(smoothing.FILTERS), 'Of the tracks of videos.'
        ),
        shortest_track=flags.integer(
            'shortest_track',
            default.shortest_track,
            'Frames; shorter tracks of videos get no files of their own.',
        ),
        refine=flags.boolean(
            'refine', None, 'Move bodies onto their keypoints. Default: if the network reads them.'
        ),
        recursive=flags.boolean(
            'recursive', default.recursive, 'Also the pictures of all folders in the folder.'
        ),
        gif=flags.boolean(
            'gif', default.gif, "Write a video's longest track as motion.gif, for a README."
        ),
        **_sample_flags(flags, default),
    )


def _sample_flags(flags: cli.Flags, default: PredictSettings) -> dict:
    return {
        'samples': flags.integer(
            'samples', default.samples, "Bodies of each person drawn from the tokens' distribution."
        ),
        'seed': flags.integer('seed', default.seed, 'Of the samples.'),
        'temperature': flags.number(
            'temperature', None, 'Of the samples: above 1 for wider ones. Default: as measured.'
        ),
    }


if __name__ == '__main__':
    main()
