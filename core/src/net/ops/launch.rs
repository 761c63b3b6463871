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
    /// Name of the file that holds it.
    pub family: &'static str,
    /// Whether the name takes such a suffix.
    pub typed: bool,
    /// Grid size, in blocks.
    pub grid: [u32; 3],
    /// Block size, in threads.
    pub block: [u32; 3],
    /// Dynamic shared memory per block, bytes.
    pub shared: u32,
}

/// All kernels: name, file without `.cu`, and whether they are generic over the element type.
pub const KERNELS: [(&str, &str, bool); 25] = [
    ("depthwise7_forward", "depthwise", true),
    ("depthwise7_grad_input", "depthwise", true),
    ("depthwise7_grad_weight", "depthwise", true),
    ("layer_norm_forward", "layer_norm", true),
    ("layer_norm_grad", "layer_norm", true),
    ("bias_gelu_forward", "bias_gelu", true),
    ("bias_gelu_grad", "bias_gelu", true),
    ("scale_residual_forward", "scale_residual", true),
    ("scale_residual_grad", "scale_residual", true),
    ("scale_residual_finish", "scale_residual", false),
    ("add_bias", "colsum", true),
    ("column_sum", "colsum", true),
    ("sum_parts", "colsum", false),
    ("images", "images", true),
    ("windows", "maps", true),
    ("add_windows", "maps", true),
    ("pool_forward", "maps", false),
    ("pool_grad", "maps", true),
    ("head_forward", "head", false),
    ("head_grad", "head", false),
    ("lstm_weights", "lstm", false),
    ("lstm_step", "lstm", false),
    ("lstm_step_grad", "lstm", false),
    ("grad_squares", "adamw", false),
    ("adamw", "adamw", false),
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

fn launch(kernel: &str, grid: [usize; 3], block: [u32; 3], shared: usize) -> Launch {
    let of = KERNELS.into_iter().find(|(name, ..)| *name == kernel);
    let (kernel, family, typed) = of.expect("a kernel of the list");
    let number = |n| u32::try_from(n).expect("a launch of at most 2³² blocks");
    Launch { kernel, family, typed, grid: grid.map(number), block, shared: number(shared) }
}

/// A kernel over `rows` rows of `c` values, in groups of four: blocks of 256 threads, and above a number
/// of blocks each thread works on several groups.
pub fn rows(kernel: &str, rows: usize, c: usize) -> Launch {
    let blocks = (rows * c.div_ceil(4)).div_ceil(256);
    let blocks = blocks.min((blocks / 4).max(BLOCKS)).clamp(1, MOST_BLOCKS);
    launch(kernel, [blocks, 1, 1], [256, 1, 1], 0)
}

/// Number of parts of sums over rows of `c`, [parts, c].
pub fn column_parts(rows: usize, c: usize) -> usize {
    (BLOCKS / c.div_ceil(32)).clamp(1, rows.div_ceil(128).max(1))
}

/// A kernel that leaves partial sums over rows of `c` values.
pub fn columns(kernel: &str, c: usize, parts: usize) -> Launch {
    launch(kernel, [c.div_ceil(32), parts, 1], [8, 32, 1], 32 * 32 * FLOAT)
}

/// The convolution of images [n, h, w, c], or its input's gradient.
pub fn depthwise7(kernel: &str, [n, h, w, c]: [usize; 4]) -> Launch {
    let threads = n * w.div_ceil(STRIP) * c;
    // With few images, split the rows into ranges; each reads 6 rows besides its own.
    let ranges = BUSY.div_ceil(threads.max(1)).clamp(1, (h / 14).max(1));
    launch(kernel, [threads.div_ceil(128), ranges, 1], [128, 1, 1], 0)
}

/// Number of parts of [`depthwise7_grad_weight`], [parts, 50, c].
pub fn depthwise7_parts(n: usize, w: usize, c: usize) -> usize {
    (BLOCKS / c.div_ceil(16)).clamp(1, (n * w.div_ceil(STRIP)).div_ceil(8).max(1))
}

/// Partial sums of the weight's and bias's gradients.
pub fn depthwise7_grad_weight(c: usize, parts: usize) -> Launch {
    let grid = [c.div_ceil(16), parts, 1];
    launch("depthwise7_grad_weight", grid, [16, 8, 1], 4 * 50 * 16 * FLOAT)
}

/// `rows` rows of `c` values: one warp per row, or per few rows that it works on at once.
pub fn layer_norm_forward(rows: usize, c: usize) -> Launch {
    let at_once = if c <= 128 { 4 } else { 2 };
    let blocks = rows.div_ceil(8 * at_once).clamp(1, MOST_BLOCKS);
    launch("layer_norm_forward", [blocks, 1, 1], [256, 1, 1], 0)
}

/// Number of parts of [`layer_norm_grad`], [parts, 2, c].
pub fn layer_norm_parts(rows: usize) -> usize {
    rows.div_ceil(64).clamp(1, BLOCKS / 2)
}

/// The gradient of the input, and partial sums of the weight's and bias's gradients.
pub fn layer_norm_grad(c: usize, parts: usize) -> Launch {
    // Shared memory for a row's sums from registers, or for the statistics of 32 rows.
    let shared = if c <= 768 { 2 * c } else { 0 }.max(64) * FLOAT;
    launch("layer_norm_grad", [parts, 1, 1], [256, 1, 1], shared)
}

/// One warp for each of gamma's `c` values.
pub fn scale_residual_finish(c: usize) -> Launch {
    launch("scale_residual_finish", [c.div_ceil(8), 1, 1], [256, 1, 1], 0)
}

/// The sum of parts of `n` values.
pub fn sum_parts(n: usize) -> Launch {
    launch("sum_parts", [n.div_ceil(32), 1, 1], [32, 8, 1], 8 * 32 * FLOAT)
}

/// A head's `c` hidden columns.
pub fn head(kernel: &str, c: usize) -> Launch {
    launch(kernel, [c.div_ceil(32), 1, 1], [32, 32, 1], 32 * 32 * FLOAT)
}

/// Weights of four directions.
pub fn lstm_weights(hidden: usize) -> Launch {
    let one = rows("lstm_weights", 4 * hidden, hidden);
    Launch { grid: [one.grid[0], 4, 1], ..one }
}

/// One step of `directions`, with `rows` rows of the batch.
pub fn lstm_step(directions: usize, rows: usize, hidden: usize) -> Launch {
    let grid = [hidden.div_ceil(8), directions, rows.div_ceil(8)];
    launch("lstm_step", grid, [256, 1, 1], 6 * 8 * 8 * FLOAT)
}

/// One step of `directions` backward, with `rows` rows of the batch.
pub fn lstm_step_grad(directions: usize, rows: usize, hidden: usize) -> Launch {
    let grid = [hidden.div_ceil(8), directions, rows.div_ceil(8)];
    launch("lstm_step_grad", grid, [256, 1, 1], 8 * 8 * 8 * FLOAT)
}

/// Splits tensors of these sizes into pieces, [pieces, 2]: tensor, piece.
pub fn pieces(sizes: impl IntoIterator<Item = usize>) -> Vec<[i32; 2]> {
    let each = sizes.into_iter().enumerate();
    each.flat_map(|(tensor, n)| (0..n.div_ceil(PIECE)).map(move |p| [tensor as i32, p as i32]))
        .collect()
}

/// Sums of squares per piece.
pub fn grad_squares(pieces: usize) -> Launch {
    launch("grad_squares", [pieces, 1, 1], [256, 1, 1], 256 * 8)
}

/// One optimizer step on all pieces.
pub fn adamw(pieces: usize) -> Launch {
    launch("adamw", [pieces, 1, 1], [256, 1, 1], 0)
}
