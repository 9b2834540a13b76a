"""Our segmentation: the closed curve around the nucleus that best separates the colours of the image.

The report's two methods use one threshold, so a red cell that touches the white cell becomes part of it. This method
learns the colours from the image itself, and the outline must be a smooth closed curve around the nucleus:

1. The nucleus is the bluest part of the image. It is the seed, and a ring around it is the first guess of the cell.
2. Each pixel votes for the cell or against it, by how often its colour occurs inside and outside the current guess
   (histograms, as in GrabCut [1]).
3. Of all closed curves r(angle) around the centre, dynamic programming finds the one that encloses most votes [2].
4. That is the next guess. Steps 2 and 3 repeat until the outline settles. The nucleus is then thresholded in the cell.

All lengths are relative to the image or to the cell. The only assumption about colours is that a nucleus is bluer or
darker than cytoplasm.

[1] Rother et al., "GrabCut": interactive foreground extraction using iterated graph cuts, SIGGRAPH 2004.
[2] Outlines by dynamic programming in polar coordinates: e.g. Baggett et al., "Whole cell segmentation
    in solid tissue sections", Cytometry A 67:137-143, 2005.
"""

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter
from skimage.filters import threshold_multiotsu, threshold_otsu

from wbc.segment.regions import fill

NUCLEUS = True

SIDE = 128  # pixels of the longer side during the search; more are no better
ROUNDS = 6  # of steps 2 and 3, at most
SETTLED = 0.02  # the search ends at a smaller change, as a fraction of the cell's pixels

CENTRAL = 0.25  # distance of the seed from the middle that divides its weight by e, in image sides
LOBE_AREA, LOBE_GAP = 0.05, 0.3  # least area of another lobe and largest gap to it, in areas and radii of the seed
RING = 0.35  # width of the first guess around the nucleus, in nucleus radii
PALE = 0.1  # darkness below which a pixel of the first guess is background, as a fraction of the nucleus's

BINS = 16  # of the histograms per channel, blurred by one bin so that similar colours vote alike
VOTE = 3.0  # largest log-odds of one pixel: e³ = 20 to 1
ANGLES = 96  # corners of the outline
TURN = np.arange(ANGLES) * (2 * np.pi / ANGLES)
RAYS = np.stack([np.cos(TURN), np.sin(TURN)], 1).astype(np.float32)  # (x, y) direction of each corner
SLOPE = 3  # largest change of the radius between two corners, in pixels
BEND = 3.0  # votes that a change by one pixel costs; the cost is quadratic

# Weights of R, G, B: nuclear stain absorbs green and transmits blue.
BLUE, GREEN = np.array([(-0.2, -1.0, 1.0), (0.0, -1.0, 0.0)], np.float32)
FRAYED = 0.6  # green shows the nucleus if its outline is this much shorter there than by blueness
TIGHT = 0.6  # threshold of the nucleus between the mean of the cytoplasm, 0, and its own, 1
SPECK = 0.07  # radius of what is too small to be part of the nucleus, such as a granule, in cell radii
SMOOTH = 0.03  # blur that evens out the chromatin, in cell radii


def segment(image: np.ndarray) -> np.ndarray:
    """Segment the cell around the main nucleus, without red cells that touch it."""
    shape = image.shape[:2]
    scale = min(1, SIDE / max(shape))
    height, width = (max(1, round(scale * side)) for side in shape)
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    blueness = np.float32(small) @ BLUE
    if blueness.max() == blueness.min():
        return np.zeros(shape, np.uint8)
    nucleus, rivals, cell = _seed(small, blueness)
    colours = _bin(small)
    centre = np.argwhere(nucleus)[:, ::-1].mean(0)
    for _ in range(ROUNDS):
        votes = _votes(colours, cell)
        votes[nucleus], votes[rivals] = VOTE, -VOTE
        radii = _outline(votes, centre)
        before, cell = cell, _draw(centre, radii, cell.shape, np.ones(2)) > 0
        if np.count_nonzero(cell != before) < SETTLED * np.count_nonzero(cell):
            break
    mask = _draw(centre, radii, shape, np.divide(shape, cell.shape)[::-1])
    depth, threshold = _nuclear(small, cell)
    nucleus = np.uint8(cv2.resize(depth, shape[::-1], interpolation=cv2.INTER_LINEAR) > threshold) & mask
    return mask + fill(nucleus)


def _seed(image: np.ndarray, blueness: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boolean masks: the main nucleus with its lobes, pixels nearer to another nucleus, and the first guess."""
    try:
        threshold = threshold_multiotsu(blueness, 3)[-1]  # background and red cells, cytoplasm, nuclei
    except ValueError:  # there are only two values
        threshold = threshold_otsu(blueness)
    height, width = blueness.shape
    blue = np.uint8(blueness > threshold)
    opened = cv2.morphologyEx(blue, cv2.MORPH_OPEN, _disc(0.015 * min(height, width)))
    _, labels, stats, centres = cv2.connectedComponentsWithStats(opened if opened.any() else blue)
    areas = stats[:, cv2.CC_STAT_AREA] * (np.arange(len(stats)) > 0)  # 0 for the background
    offset = (centres + 0.5) / (width, height) - 0.5
    main = int((areas * np.exp(-np.square(offset / CENTRAL).sum(1))).argmax())

    darkness = 255 - image[..., 1].astype(np.float32)
    clear = np.percentile(darkness, 10)
    stained = darkness > clear + PALE * (np.median(darkness[labels == main]) - clear)
    own, foreign = _divide(labels, stats, main)
    distance = _distance(own)
    rivals = _distance(foreign) < distance if foreign.any() else foreign
    return own, rivals, own | (distance < RING * np.sqrt(own.sum() / np.pi) + 2) & stained


def _divide(labels: np.ndarray, stats: np.ndarray, main: int) -> tuple[np.ndarray, np.ndarray]:
    """Boolean masks of the components that are the main one and its lobes, and of those of other cells.

    A component cut by the image's border belongs to another cell. All others that are too small or too far away for a
    lobe belong to neither: the votes decide.
    """
    height, width = labels.shape
    left, top, across, down, areas = stats.T
    gap = np.full(len(stats), np.inf, np.float32)
    np.minimum.at(gap, labels, _distance(labels == main))
    own = (areas > LOBE_AREA * areas[main]) & (gap < LOBE_GAP * np.sqrt(areas[main] / np.pi))
    foreign = ((left == 0) | (top == 0) | (left + across == width) | (top + down == height)) & ~own
    own[main], foreign[main] = True, False
    own[0] = foreign[0] = False  # background
    return own[labels], foreign[labels]


def _distance(region: np.ndarray) -> np.ndarray:
    """Distance of every pixel from a region, in pixels."""
    return cv2.distanceTransform(np.uint8(~region), cv2.DIST_L2, 5)


def _disc(radius: float) -> np.ndarray:
    side = 2 * round(radius) + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))


def _bin(image: np.ndarray) -> np.ndarray:
    """(H, W) bin numbers in a histogram that spans the image's own range of each channel."""
    pixels = image.reshape(-1, 3).astype(np.float32)
    low, high = np.percentile(pixels, [1, 99], axis=0)
    bins = ((pixels - low) / np.maximum(high - low, 1) * BINS).clip(0, BINS - 1).astype(int)
    return (bins @ [BINS * BINS, BINS, 1]).reshape(image.shape[:2])


def _votes(colours: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """(H, W) float32 log-odds of each pixel's colour inside against outside."""
    fractions = []
    for region in (inside, ~inside):
        counts = np.bincount(colours[region], minlength=BINS**3).reshape(BINS, BINS, BINS).astype(np.float32)
        blurred = gaussian_filter(counts, 1, truncate=2.5)
        fractions.append(blurred / max(1, region.sum()) + 1 / colours.size)  # log-odds 0 for a colour never seen
    return np.log(fractions[0] / fractions[1]).clip(-VOTE, VOTE).astype(np.float32).ravel()[colours]


def _outline(votes: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Radii along `RAYS` of the closed curve around a centre that encloses most votes, minus the cost of its bends."""
    radii = np.arange(int(np.hypot(*votes.shape) / 2) + 1, dtype=np.float32) + 0.5
    x, y = np.moveaxis(centre.astype(np.float32) + RAYS[:, None] * radii[:, None], 2, 0)
    sampled = cv2.remap(votes, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)  # 0 outside
    enclosed = np.cumsum(sampled * radii, 1) * np.float32(2 * np.pi / ANGLES)  # the area element is r dr dangle

    # The path overlaps itself by an eighth of a turn at both ends, which closes the turn between to within a pixel.
    order = np.arange(-ANGLES // 8, ANGLES + ANGLES // 8) % ANGLES
    cost = BEND * np.arange(-SLOPE, SLOPE + 1, dtype=np.float32)[:, None] ** 2
    best = np.full((len(order) + 1, len(radii) + 2 * SLOPE), -np.inf, np.float32)  # no path enters the margins
    best[0, SLOPE:-SLOPE] = 0
    totals = np.lib.stride_tricks.sliding_window_view(best, len(radii), axis=1)  # by step, change and radius
    for step, angle in enumerate(order):
        (totals[step] - cost).max(0, out=best[step + 1, SLOPE:-SLOPE])
        best[step + 1, SLOPE:-SLOPE] += enclosed[angle]
    path = [int(best[-1, SLOPE:-SLOPE].argmax())]
    for step in range(len(order) - 1, 0, -1):
        path.append(path[-1] + int((totals[step, :, path[-1]] - cost[:, 0]).argmax()) - SLOPE)
    return np.array(path[::-1])[ANGLES // 8 : ANGLES // 8 + ANGLES] + 1


def _draw(centre: np.ndarray, radii: np.ndarray, shape: tuple[int, int], scale: np.ndarray) -> np.ndarray:
    """Mask of 1 inside the outline, whose x and y are multiplied by `scale`.

    OpenCV also fills the pixels on the edge, half a pixel more than the outline encloses, so the corners are moved in.
    """
    corners = (centre + RAYS * radii[:, None] + 0.5) * scale - 0.5 - RAYS / 2
    mask = np.zeros(shape, np.uint8)
    return cv2.fillPoly(mask, [np.round(corners * 16).astype(np.int32)], 1, shift=4)


def _nuclear(image: np.ndarray, cell: np.ndarray) -> tuple[np.ndarray, float]:
    """A (H, W) float32 measure of the nucleus, and its threshold.

    Blueness separates a nucleus from the red granules of an eosinophil, and darkness (in green) from the blue cytoplasm
    of a plasma cell. The wrong one of the two frays the outline.
    """
    radius = np.sqrt(cell.sum() / np.pi)
    found = []
    for weights in (BLUE, GREEN):
        depth = cv2.GaussianBlur(np.float32(image) @ weights, (0, 0), max(0.3, SMOOTH * radius))
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
