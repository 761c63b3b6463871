//! The LSTM pass's operations on a GPU: each kernel runs a layer's directions in one launch, cuBLAS
//! products read and write the gates in place, and candle reorders rows.

use super::{Grad, LSTMS, Layers, Ops, SIDE_BY_SIDE, place};
use crate::net::ops::cuda::{lstm_backward, lstm_forward, lstm_weights};
use crate::net::ops::gpu::{Matrix, empty, product, tensor};
use crate::net::ops::recurrence::{GATES, KEPT};
use crate::net::views::Views;
use candle_core::cuda_backend::{
    WrapErr,
    cudarc::driver::{CudaSlice, CudaView},
};
use candle_core::{CudaDevice, DType, Device, Result, Shape, Tensor};
use std::ops::Range;

/// A GPU, with the weights.
pub(super) struct Cuda<'a> {
    pub layers: Layers,
    pub weights: Vec<CudaView<'a, f32>>,
    pub device: &'a CudaDevice,
}

/// Cells of a layer's directions.
pub(super) struct Cells {
    /// [4, T, B, 6H]: all steps of every direction, whether read or not.
    kept: Tensor,
    /// [4, 4H, H]
    w_hh: CudaSlice<f32>,
}

/// The gradients of all weights, in one buffer.
pub(super) struct Sums {
    all: CudaSlice<f32>,
    places: Vec<Range<usize>>,
    /// [2, T·B] ones.
    ones: CudaSlice<f32>,
}

impl Sums {
    fn of(&self, weight: usize) -> CudaView<'_, f32> {
        self.all.slice(self.places[weight].clone())
    }

    /// Returns each weight's gradient in the weight's shape.
    pub fn finish(self, device: &CudaDevice, shapes: &[&Shape]) -> Result<Vec<Tensor>> {
        let n = self.all.len();
        let all = tensor(self.all, device, n);
        let of = |(place, shape): (Range<usize>, &&Shape)| {
            all.narrow(0, place.start, place.len())?.reshape(*shape)
        };
        self.places.into_iter().zip(shapes).map(of).collect()
    }
}

/// A matrix of contiguous rows of `row` values.
fn rows<'a>(values: &CudaView<'a, f32>, row: usize, transposed: bool) -> Matrix<'a, f32> {
    Matrix { values: values.slice(..), row, transposed }
}

impl Cuda<'_> {
    /// Allocates sums with arbitrary values, for [`Ops::layer_grad`] to overwrite.
    pub fn sums(&self, studies: usize) -> Result<Sums> {
        let mut end = 0;
        let place = |weight: &CudaView<f32>| {
            let start = end;
            end += weight.len();
            start..end
        };
        let places: Vec<_> = self.weights.iter().map(place).collect();
        let ones = vec![1f32; 2 * self.layers.steps * studies];
        let ones = self.device.clone_htod(&ones)?;
        Ok(Sums { all: empty(self.device, end)?, places, ones })
    }

    /// Returns B, given T·B or B·T rows.
    fn studies(&self, x: &Tensor) -> Result<usize> {
        Ok(x.dim(0)? / self.layers.steps)
    }

    /// The gates of a direction's cells in `kept`: rows of 4H, 6H apart.
    fn gates<'k>(&self, kept: &CudaView<'k, f32>, side: usize) -> CudaView<'k, f32> {
        let each = kept.len() / SIDE_BY_SIDE;
        kept.slice(side * each + GATES * self.layers.hidden..(side + 1) * each)
    }

    /// Arranges the gradient of a layer's h as [4, T, B, H].
    fn by_side(&self, grad: Grad<Tensor>) -> Result<Tensor> {
        let (t, h) = (self.layers.steps, self.layers.hidden);
        match grad {
            Grad::Between(both) => {
                let each = both.map(|grad| {
                    let b = self.studies(grad)?;
                    grad.reshape((t, b, 2, h))?.permute((2, 0, 1, 3))?.contiguous()
                });
                let [first, second] = each;
                Tensor::cat(&[first?, second?], 0)
            }
            Grad::Read([all, first]) => {
                let b = first.dim(0)?;
                let device = Device::Cuda(self.device.clone());
                let out = Tensor::zeros((SIDE_BY_SIDE, t, b, h), DType::F32, &device)?;
                let all = all.reshape((b, t, 2, h))?.permute((2, 1, 0, 3))?.contiguous()?;
                out.slice_set(&all, 0, 0)?;
                let first = first.reshape((b, 1, 2, h))?.permute((2, 1, 0, 3))?.contiguous()?;
                out.narrow(0, 2, 2)?.slice_set(&first, 1, 0)?;
                Ok(out)
            }
        }
    }

    /// Computes the gradients of a direction's weights from those of its gates and from its input.
    fn weight_grads(
        &self,
        (layer, side): (usize, usize),
        kept: &CudaView<f32>,
        (x, b): (&CudaView<f32>, usize),
        sums: &mut Sums,
    ) -> Result<()> {
        let (h, width, device) = (self.layers.hidden, self.layers.width(layer), self.device);
        let of = self.layers.shape(layer, side, b);
        let (first, kept_row, n) = (place(layer, side), KEPT * h, of.steps * b);
        let gates = self.gates(kept, side);
        let dz = rows(&gates, kept_row, true);
        product(
            device,
            [4 * h, width, n],
            &dz,
            &rows(x, width, false),
            (&sums.of(first), width),
            false,
        )?;
        // The gradients of both biases are equal and adjacent.
        let biases = sums.places[first + 2].start..sums.places[first + 3].end;
        let (ones, dz) =
            (rows(&sums.ones.as_view(), sums.ones.len() / 2, false), rows(&gates, kept_row, false));
        product(device, [2, 4 * h, n], &ones, &dz, (&sums.all.slice(biases), 4 * h), false)?;
        if of.steps == 1 {
            let place = sums.places[first + 1].clone();
            return device.cuda_stream().memset_zeros(&mut sums.all.slice_mut(place)).w();
        }
        // Pairs the gates of a step with h of the step before it in time.
        let (now, before) = if of.reverse { (0, 1) } else { (1, 0) };
        let cells = kept.slice(side * kept.len() / SIDE_BY_SIDE..);
        let dz = rows(&gates.slice(now * of.step()..), kept_row, true);
        let h_before = rows(&cells.slice(before * of.step()..), kept_row, false);
        let size = [4 * h, h, (of.steps - 1) * b];
        product(device, size, &dz, &h_before, (&sums.of(first + 1), h), false)
    }
}

impl Ops for Cuda<'_> {
    type In = Tensor;
    type Values = Tensor;
    type Cells = Cells;
    type Sums = Sums;

    fn by_time(&self, x: &Tensor) -> Result<Tensor> {
        let Layers { steps, features, .. } = self.layers;
        let by_study = x.reshape((self.studies(x)?, steps, features))?;
        by_study.transpose(0, 1)?.contiguous()?.reshape(((), features))
    }

    fn by_study(&self, x: &Tensor) -> Result<Tensor> {
        let Layers { steps, features, .. } = self.layers;
        let by_time = x.reshape((steps, self.studies(x)?, features))?;
        by_time.transpose(0, 1)?.contiguous()?.reshape(((), features))
    }

    fn layer(&self, layer: usize, inputs: [&Tensor; LSTMS]) -> Result<Cells> {
        let (t, h, width) = (self.layers.steps, self.layers.hidden, self.layers.width(layer));
        let (b, device) = (self.studies(inputs[0])?, self.device);
        let views = Views::of(inputs);
        let x = views.on_card::<f32>()?;
        let kept = empty::<f32>(device, SIDE_BY_SIDE * t * b * KEPT * h)?;
        for side in 0..SIDE_BY_SIDE {
            let x = rows(&x[side / 2], width, false);
            let w_ih = rows(&self.weights[place(layer, side)], width, true);
            let gates = self.gates(&kept.as_view(), side);
            product(device, [t * b, 4 * h, width], &x, &w_ih, (&gates, KEPT * h), false)?;
        }
        let of = |part: usize| {
            std::array::from_fn(|side| self.weights[place(layer, side) + part].slice(..))
        };
        let (w_hh, bias) = lstm_weights(device, [of(1), of(2), of(3)], h)?;
        let shape = [SIDE_BY_SIDE, t, b, h];
        lstm_forward(device, &kept.as_view(), (&w_hh.as_view(), Some(&bias.as_view())), shape)?;
        Ok(Cells { kept: tensor(kept, device, (SIDE_BY_SIDE, t, b, KEPT * h)), w_hh })
    }

    fn between(&self, cells: &Cells) -> Result<[Tensor; LSTMS]> {
        let h = cells.kept.narrow(3, 0, self.layers.hidden)?;
        let of = |lstm: usize| {
            let h = h.narrow(0, 2 * lstm, 2)?.permute((1, 2, 0, 3))?.contiguous()?;
            h.reshape(((), 2 * self.layers.hidden))
        };
        Ok([of(0)?, of(1)?])
    }

    fn read(&self, cells: &Cells) -> Result<[Tensor; LSTMS]> {
        let h = cells.kept.narrow(3, 0, self.layers.hidden)?;
        let by_study = |h: Tensor| {
            let h = h.permute((2, 1, 0, 3))?.contiguous()?;
            h.reshape(((), 2 * self.layers.hidden))
        };
        let [all, second] = [h.narrow(0, 0, 2)?, h.narrow(0, 2, 2)?];
        Ok([by_study(all)?, by_study(second.narrow(1, 0, 1)?)?])
    }

    fn layer_grad(
        &self,
        layer: usize,
        cells: &mut Cells,
        inputs: [&Tensor; LSTMS],
        grad: Grad<Tensor>,
        sums: &mut Sums,
    ) -> Result<()> {
        let (t, h) = (self.layers.steps, self.layers.hidden);
        let b = self.studies(inputs[0])?;
        let given = [cells.kept.clone(), self.by_side(grad)?];
        let views = Views::of(given.iter().chain(inputs));
        let views = views.on_card::<f32>()?;
        let (kept, grad, inputs) = (&views[0], &views[1], &views[2..]);
        lstm_backward(self.device, kept, &cells.w_hh.as_view(), grad, [SIDE_BY_SIDE, t, b, h])?;
        for side in 0..SIDE_BY_SIDE {
            self.weight_grads((layer, side), kept, (&inputs[side / 2], b), sums)?;
        }
        Ok(())
    }

    fn input_grad(&self, layer: usize, cells: &Cells, sides: &[usize]) -> Result<Tensor> {
        let (h, width) = (self.layers.hidden, self.layers.width(layer));
        let (_, t, b, _) = cells.kept.dims4()?;
        let kept = Views::of([&cells.kept]);
        let kept = &kept.on_card::<f32>()?[0];
        let dx = empty::<f32>(self.device, t * b * width)?;
        for (i, &side) in sides.iter().enumerate() {
            let n = self.layers.shape(layer, side, b).steps * b;
            let dz = rows(&self.gates(kept, side), KEPT * h, false);
            let w_ih = rows(&self.weights[place(layer, side)], width, false);
            product(self.device, [n, width, 4 * h], &dz, &w_ih, (&dx.as_view(), width), i > 0)?;
        }
        Ok(tensor(dx, self.device, (t * b, width)))
    }
}
