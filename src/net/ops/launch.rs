//! Launch geometry of the CUDA kernels. It is compiled in every build, so that the CPU emulation in the
//! tests runs the same grids as a GPU.
//!
//! Kernels generic over the element type are named without it: the module's function is `kernel` +
//! `_f32`, `_f16` or `_bf16`. Sums over rows have two stages: `parts` partial sums, then [`sum_parts`].
//! Sizes are at least 1.

/// One launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Launch {
    /// Name without the element type's suffix.
    pub kernel: &'static str,
    /// Whether the name takes such a suffix.
    pub typed: bool,
    /// Grid size, in blocks.
    pub grid: [u32; 3],
    /// Block size, in threads.
    pub block: [u32; 3],
    /// Dynamic shared memory per block, bytes.
    pub shared: u32,
}

/// Names of all kernels, and whether they are generic over the element type.
pub const KERNELS: [(&str, bool); 27] = [
    ("depthwise7_forward", true),
    ("depthwise7_grad_input", true),
    ("depthwise7_grad_weight", true),
    ("layer_norm_forward", true),
    ("layer_norm_grad", true),
    ("bias_gelu_forward", true),
    ("bias_gelu_grad", true),
    ("scale_residual_forward", true),
    ("scale_residual_grad", true),
    ("scale_residual_finish", false),
    ("add_bias", true),
    ("column_sum", true),
    ("images", true),
    ("windows", true),
    ("add_windows", true),
    ("pool_forward", false),
    ("pool_grad", true),
    ("sum_parts", false),
    ("head_forward", false),
    ("head_grad", false),
    ("lstm_spread", false),
    ("lstm_gather", false),
    ("lstm_weights", false),
    ("lstm_step", false),
    ("lstm_step_grad", false),
    ("grad_squares", false),
    ("adamw", false),
];

/// Elements of a tensor that one block of [`adamw`] or [`grad_squares`] works on.
pub const PIECE: usize = 1 << 15;

/// Bytes of a float.
const FLOAT: usize = 4;
/// Blocks that fill a large GPU several times. Fixed, so that sums do not depend on the GPU.
const BLOCKS: usize = 1056;
/// Grid cap for grid-stride kernels.
const MOST_BLOCKS: usize = 8192;
/// For the depthwise kernels: columns per thread, and threads that keep a large GPU busy.
const STRIP: usize = 4;
const BUSY: usize = 528 * 128;

fn number(n: usize) -> u32 {
    u32::try_from(n).expect("a launch of at most 2³² blocks")
}

fn launch(
    (kernel, typed): (&'static str, bool),
    grid: [usize; 3],
    block: [u32; 3],
    shared: usize,
) -> Launch {
    Launch { kernel, typed, grid: grid.map(number), block, shared: number(shared) }
}

/// Blocks of 256 threads for `groups` groups of four elements; above the cap, each thread works on
/// several.
fn groups(kernel: (&'static str, bool), groups: usize) -> Launch {
    let blocks = groups.div_ceil(256);
    let blocks = blocks.min((blocks / 4).max(BLOCKS)).clamp(1, MOST_BLOCKS);
    launch(kernel, [blocks, 1, 1], [256, 1, 1], 0)
}

fn rows_of_groups(kernel: &'static str, rows: usize, c: usize) -> Launch {
    groups((kernel, true), rows * c.div_ceil(4))
}

fn depthwise7(kernel: &'static str, [n, h, w, c]: [usize; 4]) -> Launch {
    let threads = n * w.div_ceil(STRIP) * c;
    // With few images, split the rows into ranges; each reads 6 rows besides its own.
    let ranges = BUSY.div_ceil(threads.max(1)).clamp(1, (h / 14).max(1));
    launch((kernel, true), [threads.div_ceil(128), ranges, 1], [128, 1, 1], 0)
}

/// Images [n, h, w, c].
pub fn depthwise7_forward(shape: [usize; 4]) -> Launch {
    depthwise7("depthwise7_forward", shape)
}

/// Images [n, h, w, c].
pub fn depthwise7_grad_input(shape: [usize; 4]) -> Launch {
    depthwise7("depthwise7_grad_input", shape)
}

/// Number of parts of [`depthwise7_grad_weight`], [parts, 50, c].
pub fn depthwise7_parts(n: usize, w: usize, c: usize) -> usize {
    (BLOCKS / c.div_ceil(16)).clamp(1, (n * w.div_ceil(STRIP)).div_ceil(8).max(1))
}

/// Partial sums of the weight's and bias's gradients.
pub fn depthwise7_grad_weight(c: usize, parts: usize) -> Launch {
    let grid = [c.div_ceil(16), parts, 1];
    launch(("depthwise7_grad_weight", true), grid, [16, 8, 1], 4 * 50 * 16 * FLOAT)
}

/// `rows` rows of `c` values: one warp per row, or per few rows that it works on at once.
pub fn layer_norm_forward(rows: usize, c: usize) -> Launch {
    let at_once = if c <= 128 { 4 } else { 2 };
    let blocks = rows.div_ceil(8 * at_once).clamp(1, MOST_BLOCKS);
    launch(("layer_norm_forward", true), [blocks, 1, 1], [256, 1, 1], 0)
}

/// Number of parts of [`layer_norm_grad`], [parts, 2, c].
pub fn layer_norm_parts(rows: usize) -> usize {
    rows.div_ceil(64).clamp(1, BLOCKS / 2)
}

/// The gradient of the input, and partial sums of the weight's and bias's gradients.
pub fn layer_norm_grad(c: usize, parts: usize) -> Launch {
    // Shared memory for a row's sums from registers, or for the statistics of 32 rows.
    let shared = if c <= 768 { 2 * c } else { 0 }.max(64) * FLOAT;
    launch(("layer_norm_grad", true), [parts, 1, 1], [256, 1, 1], shared)
}

/// `rows` rows of `c` values.
pub fn bias_gelu_forward(rows: usize, c: usize) -> Launch {
    rows_of_groups("bias_gelu_forward", rows, c)
}

/// The gradient of the input, and partial sums of the bias's gradient.
pub fn bias_gelu_grad(c: usize, parts: usize) -> Launch {
    columns("bias_gelu_grad", c, parts)
}

/// `rows` rows of `c` values.
pub fn scale_residual_forward(rows: usize, c: usize) -> Launch {
    rows_of_groups("scale_residual_forward", rows, c)
}

/// Number of parts of sums over rows of `c`, [parts, c].
pub fn column_parts(rows: usize, c: usize) -> usize {
    (BLOCKS / c.div_ceil(32)).clamp(1, rows.div_ceil(128).max(1))
}

fn columns(kernel: &'static str, c: usize, parts: usize) -> Launch {
    launch((kernel, true), [c.div_ceil(32), parts, 1], [8, 32, 1], 32 * 32 * FLOAT)
}

/// The gradient of the input, and partial sums over rows.
pub fn scale_residual_grad(c: usize, parts: usize) -> Launch {
    columns("scale_residual_grad", c, parts)
}

/// One warp for each of gamma's `c` values.
pub fn scale_residual_finish(c: usize) -> Launch {
    launch(("scale_residual_finish", false), [c.div_ceil(8), 1, 1], [256, 1, 1], 0)
}

/// `rows` rows of `c` values.
pub fn add_bias(rows: usize, c: usize) -> Launch {
    rows_of_groups("add_bias", rows, c)
}

/// Partial sums over rows.
pub fn column_sum(c: usize, parts: usize) -> Launch {
    columns("column_sum", c, parts)
}

/// The sum of parts of `n` values.
pub fn sum_parts(n: usize) -> Launch {
    launch(("sum_parts", false), [n.div_ceil(32), 1, 1], [32, 8, 1], 8 * 32 * FLOAT)
}

fn head(kernel: &'static str, c: usize) -> Launch {
    launch((kernel, false), [c.div_ceil(32), 1, 1], [32, 32, 1], 32 * 32 * FLOAT)
}

/// A head's `c` hidden columns.
pub fn head_forward(c: usize) -> Launch {
    head("head_forward", c)
}

/// A head's `c` hidden columns.
pub fn head_grad(c: usize) -> Launch {
    head("head_grad", c)
}

/// `cells`: D · T · B.
pub fn lstm_spread(cells: usize, hidden: usize) -> Launch {
    groups(("lstm_spread", false), cells * hidden)
}

/// `cells`: D · T · B.
pub fn lstm_gather(cells: usize, hidden: usize) -> Launch {
    groups(("lstm_gather", false), cells * hidden.div_ceil(4))
}

/// Weights of four directions.
pub fn lstm_weights(hidden: usize) -> Launch {
    let one = groups(("lstm_weights", false), 4 * hidden * hidden.div_ceil(4));
    Launch { grid: [one.grid[0], 4, 1], ..one }
}

/// One step of `directions`, with `rows` rows of the batch.
pub fn lstm_step(directions: usize, rows: usize, hidden: usize) -> Launch {
    let grid = [hidden.div_ceil(8), directions, rows.div_ceil(8)];
    launch(("lstm_step", false), grid, [256, 1, 1], 6 * 8 * 8 * FLOAT)
}

/// One step of `directions` backward, with `rows` rows of the batch.
pub fn lstm_step_grad(directions: usize, rows: usize, hidden: usize) -> Launch {
    let grid = [hidden.div_ceil(8), directions, rows.div_ceil(8)];
    launch(("lstm_step_grad", false), grid, [256, 1, 1], 8 * 8 * 8 * FLOAT)
}

/// Splits tensors of these sizes into pieces, [pieces, 2]: tensor, piece.
pub fn pieces(sizes: impl IntoIterator<Item = usize>) -> Vec<[i32; 2]> {
    let each = sizes.into_iter().enumerate();
    each.flat_map(|(tensor, n)| (0..n.div_ceil(PIECE)).map(move |p| [tensor as i32, p as i32]))
        .collect()
}

/// Sums of squares per piece.
pub fn grad_squares(pieces: usize) -> Launch {
    launch(("grad_squares", false), [pieces, 1, 1], [256, 1, 1], 256 * 8)
}

/// One optimizer step on all pieces.
pub fn adamw(pieces: usize) -> Launch {
    launch(("adamw", false), [pieces, 1, 1], [256, 1, 1], 0)
}

/// `n` bytes.
pub fn images(n: usize) -> Launch {
    groups(("images", true), n.div_ceil(4))
}

/// `count` windows of `c` channels.
pub fn windows(count: usize, c: usize) -> Launch {
    rows_of_groups("windows", 9 * count, c)
}

/// `pixels` of `c` channels.
pub fn add_windows(pixels: usize, c: usize) -> Launch {
    rows_of_groups("add_windows", pixels, c)
}

/// `n` maps of `c` channels.
pub fn pool_forward(n: usize, c: usize) -> Launch {
    groups(("pool_forward", false), n * c.div_ceil(4))
}

/// `n` maps of `pixels` pixels of `c` channels.
pub fn pool_grad(n: usize, pixels: usize, c: usize) -> Launch {
    rows_of_groups("pool_grad", n * pixels, c)
}
