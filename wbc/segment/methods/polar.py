"""A third segmentation: the closed curve around the nucleus that best divides the image's colours.

The report's two go by one threshold, so a red cell that touches the white cell becomes part of it. Here the image
itself tells the colours apart, and the outline has to be a smooth closed curve around the nucleus:

1. The nucleus is the bluest thing in the picture, which gives a seed and a first guess of the cell, a ring around it.
2. Each pixel votes for cell or surroundings by how often its colour occurs in either (histograms, as in GrabCut [1]).
3. Of all closed curves r(angle) around the centre, dynamic programming finds the one that encloses most votes [2].
4. That is the next guess; repeated, histograms and outline settle. The nucleus is then thresholded within the cell.

All lengths are relative to the image or to the cell. All that is assumed of colours is that a nucleus is bluer or
darker than cytoplasm.

[1] Rother et al., "GrabCut": interactive foreground extraction using iterated graph cuts, SIGGRAPH 2004.
[2] Outlines by dynamic programming in polar coordinates: e.g. Baggett et al., "Whole cell segmentation
    in solid tissue sections", Cytometry A 67:137-143, 2005.
"""

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter
from skimage.filters import threshold_multiotsu, threshold_otsu

from wbc.segment.regions import contours, filled

NUCLEUS = True

SIDE = 128  # pixels of the longer side while searching: a finer search gains nothing
ROUNDS = 6  # of histograms and outline, at most
SETTLED = 0.02  # share of the cell's pixels: a smaller change ends the search

CENTRAL = 0.25  # the seed's distance from the middle, in image sides, that divides its weight by e
LOBE_AREA, LOBE_GAP = 0.05, 0.3  # least area of a further lobe and largest gap to it, in the seed's areas and radii
RING = 0.35  # width of the first guess around the nucleus, in its radii
PALE = 0.1  # share of the nucleus's darkness below which a pixel of the first guess is background

BINS = 16  # of the histograms per channel, blurred by one bin so that neighbouring colours vote alike
VOTE = 3.0  # largest log-odds of one pixel: e³ = 20 to 1
ANGLES = 96  # corners of the outline
TURN = np.arange(ANGLES) * (2 * np.pi / ANGLES)
RAYS = np.stack([np.cos(TURN), np.sin(TURN)], 1).astype(np.float32)  # (x, y) of each corner's direction
SLOPE = 3  # pixels that the radius may change from one corner to the next
BEND = 3.0  # votes that a change by one pixel costs; by two, four times as many

BLUE, GREEN = (-0.2, -1.0, 1.0), (0.0, -1.0, 0.0)  # weights of R, G, B: nuclear stain absorbs green and passes blue
FRAYED = 0.6  # the green channel shows the nucleus where its outline there is this much shorter than by blueness
TIGHT = 0.6  # where the nucleus begins, between the mean of the cytoplasm, 0, and its own, 1
SPECK = 0.07  # radius of what is too small for a part of the nucleus, such as a granule, in cell radii
SMOOTH = 0.03  # blur that evens out the chromatin, in cell radii


def segment(image: np.ndarray) -> np.ndarray:
    """Segment the cell around the image's main nucleus, red cells that touch it left out.

    Args:
        image: (H, W, 3) uint8, RGB.

    Returns:
        (H, W) uint8 mask of 0, 1 and 2, all 0 where no part of the image is bluer than the rest.
    """
    shape = image.shape[:2]
    small = _shrunk(image)
    blueness = _project(small, BLUE)
    if blueness.max() == blueness.min():
        return np.zeros(shape, np.uint8)
    nucleus, rivals, cell = _seed(small, blueness)
    colours = _binned(small)
    centre = np.argwhere(nucleus)[:, ::-1].mean(0)
    for _ in range(ROUNDS):
        votes = _votes(colours, cell)
        votes[nucleus], votes[rivals] = VOTE, -VOTE
        radii = _outline(votes, centre)
        before, cell = cell, _filled(centre, radii, cell.shape, np.ones(2)) > 0
        if np.count_nonzero(cell != before) < SETTLED * np.count_nonzero(cell):
            break
    scale = np.divide(shape, small.shape[:2])[::-1]
    mask = _filled(centre, radii, shape, scale)
    depth, threshold = _nuclear(small, cell)
    nucleus = np.uint8(cv2.resize(depth, shape[::-1], interpolation=cv2.INTER_LINEAR) > threshold) & mask
    return mask + filled(contours(nucleus), shape)


def _shrunk(image: np.ndarray) -> np.ndarray:
    """The image with its longer side at most `SIDE`."""
    scale = min(1, SIDE / max(image.shape[:2]))
    height, width = (max(1, round(scale * side)) for side in image.shape[:2])
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def _project(image: np.ndarray, weights: tuple[float, float, float]) -> np.ndarray:
    return image.astype(np.float32) @ np.array(weights, np.float32)


def _seed(image: np.ndarray, blueness: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boolean masks: the main nucleus with its lobes, what lies nearer to a neighbour's nucleus, a first guess."""
    try:
        threshold = threshold_multiotsu(blueness, 3)[-1]  # background and red cells, cytoplasm, nuclei
    except ValueError:  # there are but two values
        threshold = threshold_otsu(blueness)
    side = min(blueness.shape)
    blue = np.uint8(blueness > threshold)
    opened = cv2.morphologyEx(blue, cv2.MORPH_OPEN, _disc(0.015 * side))
    _, labels, stats, centres = cv2.connectedComponentsWithStats(opened if opened.any() else blue)
    areas = stats[:, cv2.CC_STAT_AREA] * (np.arange(len(stats)) > 0)  # without the background, 0
    height, width = blueness.shape
    offset = (centres + 0.5) / (width, height) - 0.5
    main = int((areas * np.exp(-np.square(offset / CENTRAL).sum(1))).argmax())

    darkness = 255 - image[..., 1].astype(np.float32)
    clear = np.percentile(darkness, 10)
    stained = darkness > clear + PALE * (np.median(darkness[labels == main]) - clear)
    own, foreign = _shared_out(labels, stats, main)
    distance = _distance(own)
    rivals = _distance(foreign) < distance if foreign.any() else foreign
    return own, rivals, own | (distance < RING * np.sqrt(own.sum() / np.pi) + 2) & stained


def _shared_out(labels: np.ndarray, stats: np.ndarray, main: int) -> tuple[np.ndarray, np.ndarray]:
    """Boolean masks of the components that are lobes of the main one, it included, and of those of other cells.

    What the image's border cuts belongs to another cell. Of the rest, parts that are too small or too far off for a
    lobe belong to neither: the votes decide.
    """
    height, width = labels.shape
    areas = stats[:, cv2.CC_STAT_AREA]
    gap = np.full(len(stats), np.inf, np.float32)
    np.minimum.at(gap, labels, _distance(labels == main))
    left, top, right, bottom = stats[:, 0], stats[:, 1], stats[:, 0] + stats[:, 2], stats[:, 1] + stats[:, 3]
    own = (areas > LOBE_AREA * areas[main]) & (gap < LOBE_GAP * np.sqrt(areas[main] / np.pi))
    foreign = ((left == 0) | (top == 0) | (right == width) | (bottom == height)) & ~own
    own[main], foreign[main] = True, False
    own[0] = foreign[0] = False  # the background
    return own[labels], foreign[labels]


def _distance(region: np.ndarray) -> np.ndarray:
    """Distance of every pixel to a region, in pixels."""
    return cv2.distanceTransform(np.uint8(~region), cv2.DIST_L2, 5)


def _disc(radius: float) -> np.ndarray:
    side = 2 * round(radius) + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))


def _binned(image: np.ndarray) -> np.ndarray:
    """The number of each pixel's bin in a histogram that spans the image's own range of each channel."""
    pixels = image.reshape(-1, 3).astype(np.float32)
    low, high = np.percentile(pixels, [1, 99], axis=0)
    bins = ((pixels - low) / np.maximum(high - low, 1) * BINS).clip(0, BINS - 1).astype(int)
    return (bins @ [BINS * BINS, BINS, 1]).reshape(image.shape[:2])


def _votes(colours: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Log-odds of each pixel's colour inside against outside, to be summed over a region."""
    shares = []
    for region in (inside, ~inside):
        counts = np.bincount(colours[region], minlength=BINS**3).reshape(BINS, BINS, BINS).astype(np.float32)
        blurred = gaussian_filter(counts, 1, truncate=2.5)
        shares.append(blurred / max(1, region.sum()) + 1 / colours.size)  # a colour never seen votes for nothing
    return np.log(shares[0] / shares[1]).clip(-VOTE, VOTE).astype(np.float32).ravel()[colours]


def _outline(votes: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Radii along `RAYS` of the closed curve around a centre that encloses most votes, less what its bends cost."""
    radii = np.arange(int(np.hypot(*votes.shape) / 2) + 1, dtype=np.float32) + 0.5
    x, y = np.moveaxis(centre.astype(np.float32) + RAYS[:, None] * radii[:, None], 2, 0)
    sampled = cv2.remap(votes, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)  # 0 outside
    enclosed = np.cumsum(sampled * radii, 1) * np.float32(2 * np.pi / ANGLES)  # a pixel stands for r dr dangle

    # The path starts an eighth of a turn early and ends one late, which closes the whole turn between but for a pixel.
    order = np.arange(-ANGLES // 8, ANGLES + ANGLES // 8) % ANGLES
    cost = BEND * np.arange(-SLOPE, SLOPE + 1, dtype=np.float32)[:, None] ** 2
    best = np.full((len(order) + 1, len(radii) + 2 * SLOPE), -np.inf, np.float32)  # margins that no path enters
    best[0, SLOPE:-SLOPE] = 0
    totals = np.lib.stride_tricks.sliding_window_view(best, len(radii), axis=1)  # of a step's ways to every radius
    for step, angle in enumerate(order):
        (totals[step] - cost).max(0, out=best[step + 1, SLOPE:-SLOPE])
        best[step + 1, SLOPE:-SLOPE] += enclosed[angle]
    path = [int(best[-1, SLOPE:-SLOPE].argmax())]
    for step in range(len(order) - 1, 0, -1):
        path.append(path[-1] + int((totals[step, :, path[-1]] - cost[:, 0]).argmax()) - SLOPE)
    return np.array(path[::-1])[ANGLES // 8 : ANGLES // 8 + ANGLES] + 1


def _filled(centre: np.ndarray, radii: np.ndarray, shape: tuple[int, int], scale: np.ndarray) -> np.ndarray:
    """1 inside the outline, drawn on a finer grid by the factors of x and y.

    OpenCV fills the pixels on the edge too, half a pixel more than the outline encloses, which is taken off first.
    """
    corners = (centre + RAYS * radii[:, None] + 0.5) * scale - 0.5 - RAYS / 2
    mask = np.zeros(shape, np.uint8)
    return cv2.fillPoly(mask, [np.round(corners * 16).astype(np.int32)], 1, shift=4)


def _nuclear(image: np.ndarray, cell: np.ndarray) -> tuple[np.ndarray, float]:
    """How nuclear each pixel is, float32, and the value above which it belongs to the nucleus.

    Blueness tells a nucleus from the red granules of an eosinophil, but not from the blue cytoplasm of a plasma cell,
    where darkness does. The wrong one of the two frays the outline.
    """
    radius = np.sqrt(cell.sum() / np.pi)
    found = []
    for weights in (BLUE, GREEN):
        depth = cv2.GaussianBlur(_project(image, weights), (0, 0), max(0.3, SMOOTH * radius))
        values = depth[cell]
        above = values > threshold_otsu(values)
        if not above.any():
            return np.zeros(cell.shape, np.float32), 0.0
        low, high = values[~above].mean(), values[above].mean()
        threshold = low + TIGHT * (high - low)
        depth = cv2.morphologyEx(depth, cv2.MORPH_OPEN, _disc(SPECK * radius))
        rim = cv2.morphologyEx(np.uint8((depth > threshold) & cell), cv2.MORPH_GRADIENT, np.ones((3, 3)))
        found.append((np.count_nonzero(rim), depth, threshold))
    blue, green = found
    return (green if green[0] < FRAYED * blue[0] else blue)[1:]
