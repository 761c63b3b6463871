//! The outline of a mask, to draw over a picture.

/// Colour of the outline, distinct from all greys.
pub const COLOR: [u8; 3] = [255, 190, 0];

/// Returns for each pixel, `[height, width]`, row by row, whether it is in the mask (above 127) and its
/// left, right, upper or lower neighbour is not. Pixels beyond the picture are outside the mask.
///
/// `mask`: `[height, width]`, row by row, 0..=255.
pub fn edge(mask: &[u8], width: usize, height: usize) -> Vec<bool> {
    let inside = |x: usize, y: usize| x < width && y < height && mask[y * width + x] > 127;
    let ends = |x: usize, y: usize| {
        // Column -1 wraps to an index that is never inside.
        let around = [(x.wrapping_sub(1), y), (x + 1, y), (x, y.wrapping_sub(1)), (x, y + 1)];
        inside(x, y) && around.iter().any(|&(x, y)| !inside(x, y))
    };
    (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).map(|(x, y)| ends(x, y)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_outlined_within_itself_and_at_the_border() {
        let picture = |text: &str| -> Vec<u8> {
            text.bytes().map(|b| if b == b'#' { 255 } else { 0 }).collect()
        };
        let drawn = |mask: &str, width: usize| -> String {
            let edge = edge(&picture(mask), width, mask.len() / width);
            edge.iter().map(|e| if *e { 'o' } else { '.' }).collect()
        };
        assert_eq!(drawn("......###..###..###......", 5), "......ooo..o.o..ooo......");
        assert_eq!(drawn("####", 2), "oooo");
        assert_eq!(drawn("", 1), "");
    }
}
