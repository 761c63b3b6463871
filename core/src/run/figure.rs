//! Floats in JSON: a number, or `"nan"`, `"inf"`, `"-inf"`, which JSON numbers cannot express.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An `f64` in that form.
#[derive(Clone, Copy)]
struct Figure(f64);

impl Serialize for Figure {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            x if x.is_finite() => s.serialize_f64(x),
            x if x.is_nan() => s.serialize_str("nan"),
            x if x > 0.0 => s.serialize_str("inf"),
            _ => s.serialize_str("-inf"),
        }
    }
}

impl<'de> Deserialize<'de> for Figure {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Figure;
            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("a number, \"nan\", \"inf\" or \"-inf\"")
            }
            fn visit_f64<E>(self, x: f64) -> Result<Figure, E> {
                Ok(Figure(x))
            }
            fn visit_u64<E>(self, x: u64) -> Result<Figure, E> {
                Ok(Figure(x as f64))
            }
            fn visit_i64<E>(self, x: i64) -> Result<Figure, E> {
                Ok(Figure(x as f64))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Figure, E> {
                match text {
                    "nan" => Ok(Figure(f64::NAN)),
                    "inf" => Ok(Figure(f64::INFINITY)),
                    "-inf" => Ok(Figure(f64::NEG_INFINITY)),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
        }
        d.deserialize_any(Visitor)
    }
}

/// `#[serde(with = "figure")]` of an `f64`.
pub fn serialize<S: Serializer>(x: &f64, s: S) -> Result<S::Ok, S::Error> {
    Figure(*x).serialize(s)
}

/// `#[serde(with = "figure")]` of an `f64`.
pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<f64, D::Error> {
    Figure::deserialize(d).map(|x| x.0)
}

/// `#[serde(with = "figure::seven")]` of an `f64` per vertebra.
pub mod seven {
    use super::*;

    /// Writes seven numbers.
    pub fn serialize<S: Serializer>(x: &[f64; 7], s: S) -> Result<S::Ok, S::Error> {
        x.map(Figure).serialize(s)
    }

    /// Reads seven numbers.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<[f64; 7], D::Error> {
        <[Figure; 7]>::deserialize(d).map(|x| x.map(|x| x.0))
    }
}

/// `#[serde(with = "figure::maybe_seven")]` of an optional `f64` per vertebra.
pub mod maybe_seven {
    use super::*;

    /// Writes seven numbers or `null`s.
    pub fn serialize<S: Serializer>(x: &[Option<f64>; 7], s: S) -> Result<S::Ok, S::Error> {
        x.map(|x| x.map(Figure)).serialize(s)
    }

    /// Reads seven numbers or `null`s.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<[Option<f64>; 7], D::Error> {
        <[Option<Figure>; 7]>::deserialize(d).map(|x| x.map(|x| x.map(|x| x.0)))
    }
}

/// `#[serde(with = "figure::single")]` of an `f32`, with the fewest digits that identify it.
pub mod single {
    use super::*;

    /// Writes an `f32`.
    pub fn serialize<S: Serializer>(x: &f32, s: S) -> Result<S::Ok, S::Error> {
        match x.is_finite() {
            true => s.serialize_f32(*x),
            false => Figure(f64::from(*x)).serialize(s),
        }
    }

    /// Reads an `f32`; a value beyond its range becomes infinite.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<f32, D::Error> {
        Figure::deserialize(d).map(|x| x.0 as f32)
    }
}

/// `#[serde(with = "figure::singles")]` of a list of `f32`.
pub mod singles {
    use super::*;

    #[derive(Serialize)]
    struct Single(#[serde(with = "single")] f32);

    /// Writes a list.
    pub fn serialize<S: Serializer>(x: &[f32], s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(x.iter().map(|&x| Single(x)))
    }

    /// Reads a list.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<f32>, D::Error> {
        Ok(Vec::<Figure>::deserialize(d)?.into_iter().map(|x| x.0 as f32).collect())
    }
}
