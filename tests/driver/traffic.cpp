// Device memory that our kernels read and write, computed from their arguments. Dry mode cannot tell
// otherwise which part of a buffer a launch uses. Each value counts once, as if the caches served every
// repeated read.
#include <cstring>
#include <functional>
#include <tuple>

#include "driver.h"

namespace driver {

namespace {

struct Arguments {
    const Kernel& kernel;
    void** values;
    /// An argument as a number; 1 for a non-null pointer.
    uint64_t operator[](size_t i) const {
        uint64_t x = 0;
        memcpy(&x, values[i], kernel.parameters[i].size);
        return kernel.parameters[i].element ? x != 0 : x;
    }
};

typedef std::pair<uint64_t, uint64_t> Traffic;
typedef std::function<Traffic(const Arguments&, uint64_t)> Rule;

/// Rules by the kernel's name without its type; `t` is the size of an element in bytes.
const std::map<std::string, Rule>& rules() {
    static const std::map<std::string, Rule> all = {
        {"depthwise7_forward", [](auto& a, uint64_t t) -> Traffic {
             const uint64_t n = a[4] * a[5] * a[6] * a[7];
             return {n * t + 200 * a[7], n * t};
         }},
        {"depthwise7_grad_input", [](auto& a, uint64_t t) -> Traffic {
             const uint64_t n = a[4] * a[5] * a[6] * a[7];
             return {n * (t + 4) + 196 * a[7], n * 4 + a[3] * n * t};
         }},
        {"depthwise7_grad_weight", [](auto& a, uint64_t t) -> Traffic {
             return {2 * a[3] * a[4] * a[5] * a[6] * t, 200 * a[6] * a[7]};
         }},
        {"layer_norm_forward", [](auto& a, uint64_t t) -> Traffic {
             const uint64_t n = a[5] * a[6];
             return {n * t + 8 * a[6], n * (t + 4 * a[4])};
         }},
        {"layer_norm_grad", [](auto& a, uint64_t t) -> Traffic {
             const uint64_t n = a[6] * a[7];
             return {2 * n * t + 4 * a[7], n * (t + 4 * a[4]) + 8 * a[7] * a[9]};
         }},
        {"bias_gelu_forward", [](auto& a, uint64_t t) -> Traffic {
             return {a[3] * a[4] * t + 4 * a[4], a[3] * a[4] * t};
         }},
        {"bias_gelu_grad", [](auto& a, uint64_t t) -> Traffic {
             const uint64_t n = a[6] * a[7];
             return {2 * n * t + 4 * a[7], (1 + a[3]) * n * t + 4 * a[7] * a[8]};
         }},
        {"scale_residual_forward", [](auto& a, uint64_t t) -> Traffic {
             const uint64_t n = a[6] * a[7];
             return {n * (t + 4) + 8 * a[7], n * 4 + a[5] * n * t};
         }},
        {"scale_residual_grad", [](auto& a, uint64_t t) -> Traffic {
             const uint64_t n = a[4] * a[5];
             return {n * t + 4 * a[5], n * t + 4 * a[5] * a[6]};
         }},
        {"scale_residual_finish", [](auto& a, uint64_t) -> Traffic {
             return {8 * a[6] * a[7] + 12 * a[6], 4 * a[6] * a[7] + 8 * a[6]};
         }},
        {"add_bias", [](auto& a, uint64_t t) -> Traffic {
             const uint64_t n = a[4] * a[5];
             return {n * t + 4 * a[5], n * (t + 4 * a[3])};
         }},
        {"column_sum", [](auto& a, uint64_t t) -> Traffic {
             return {a[2] * a[3] * t, 4 * a[3] * a[4]};
         }},
        {"sum_parts", [](auto& a, uint64_t) -> Traffic {
             return {4 * a[3] * (a[2] + a[4]), 4 * a[3]};
         }},
        {"images", [](auto& a, uint64_t t) -> Traffic {
             return {a[5] * (1 + a[1]), a[5] * t};
         }},
        {"windows", [](auto& a, uint64_t t) -> Traffic {
             return {4 * a[3] * a[6] * t, 9 * a[3] * a[6] * t};
         }},
        {"add_windows", [](auto& a, uint64_t t) -> Traffic {
             return {(9 * a[3] + a[4]) * a[7] * t, a[4] * a[7] * t};
         }},
        {"pool_forward", [](auto& a, uint64_t) -> Traffic {
             return {4 * a[2] * a[3] * a[4], 4 * a[2] * a[4]};
         }},
        {"pool_grad", [](auto& a, uint64_t t) -> Traffic {
             const uint64_t n = a[3] * a[4] * a[5];
             return {4 * a[3] * a[5], n * 4 + a[2] * n * t};
         }},
        {"head_forward", [](auto& a, uint64_t) -> Traffic {
             const uint64_t n = a[9] * a[10];
             return {4 * n * (1 + a[4]) + 20 * a[10], 4 * n + 16 * a[8] * a[10]};
         }},
        {"head_grad", [](auto& a, uint64_t) -> Traffic {
             const uint64_t n = a[10] * a[11];
             return {4 * n * (1 + a[4]) + 24 * a[11] + 4 * a[10], 4 * n + 16 * a[11]};
         }},
        // Weights count as read at each step, though they fit into a GPU's L2 cache.
        {"lstm_spread", [](auto& a, uint64_t) -> Traffic { return {16 * a[2] * a[3], 16 * a[2] * a[3]}; }},
        {"lstm_gather", [](auto& a, uint64_t) -> Traffic { return {4 * a[2] * a[3], 4 * a[2] * a[3]}; }},
        {"lstm_step", [](auto& a, uint64_t) -> Traffic {
             const uint64_t cells = a[2] * a[4] * a[5], weights = 16 * a[2] * a[5] * a[5];
             return {(a[6] > 0) * (8 * cells + weights) + 16 * cells, 24 * cells};
         }},
        {"lstm_step_grad", [](auto& a, uint64_t) -> Traffic {
             const uint64_t cells = a[4] * a[6] * a[7], weights = 16 * a[4] * a[7] * a[7];
             const bool last = a[8] + 1 == a[5];
             return {(20 + 4 + 4 + !last * 20) * cells + !last * weights, 20 * cells};
         }},
    };
    return all;
}

}  // namespace

bool traffic(const Kernel& kernel, void** args, uint64_t& read, uint64_t& written) {
    std::string name = kernel.name;
    uint64_t element = 4;
    for (const char* suffix : {"_f32", "_f16", "_bf16"}) {
        const size_t n = strlen(suffix);
        if (name.size() <= n || name.compare(name.size() - n, n, suffix) != 0) continue;
        element = suffix[1] == 'f' && suffix[2] == '3' ? 4 : 2;
        name.resize(name.size() - n);
        break;
    }
    const auto rule = rules().find(name);
    if (rule == rules().end()) return false;
    const Arguments arguments = {kernel, args};
    std::tie(read, written) = rule->second(arguments, element);
    return true;
}

}  // namespace driver
