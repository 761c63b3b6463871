// The warp sums of common.cuh with one switch per thread instead of five to thirty-one: the last lane to
// arrive does the shuffles' work for all, operation by operation. (tests/it/kernels runs the shuffles.)
#pragma once

namespace emulation {

/// Values that the lanes of each warp brought, [value][lane], and how many lanes have.
static float brought[MOST / WARP][32][WARP];
static unsigned lanes_there[MOST / WARP];

/// Exchanges `m` values of each lane for the results of `add` over all lanes.
template <class F>
inline void together(const char* what, float* v, int m, F add) {
    const unsigned warp = unsigned(current - threads) / WARP, lane = current->lane;
    for (int i = 0; i < m; i++) brought[warp][i][lane] = v[i];
    if (++lanes_there[warp] == WARP) {
        lanes_there[warp] = 0;
        add(brought[warp]);
    }
    pause(AT_WARP, what);
    for (int i = 0; i < m; i++) v[i] = brought[warp][i][lane];
}

}  // namespace emulation

template <int M>
inline void warp_sums(float (&v)[M]) {
    emulation::together("warp_sums", v, M, [](float (*x)[32]) {
        for (int m = 0; m < M; m++)
            for (unsigned lanes = 16; lanes > 0; lanes /= 2) {
                float before[32];
                memcpy(before, x[m], sizeof before);
                for (unsigned l = 0; l < 32; l++) x[m][l] = before[l] + before[l ^ lanes];
            }
    });
}

template <int LAST>
inline void scatter_sums(float (&v)[32], int) {
    emulation::together("scatter_sums", v, 32, [](float (*x)[32]) {
        for (int half = 16; half >= LAST; half /= 2)
            for (int i = 0; i < half; i++) {
                float low[32], high[32];
                memcpy(low, x[i], sizeof low);
                memcpy(high, x[i + half], sizeof high);
                for (int l = 0; l < 32; l++) {
                    const bool upper = (l & half) != 0;
                    const float keep = upper ? high[l] : low[l];
                    // The other lane gives the half that this one keeps.
                    const float given = upper ? high[l ^ half] : low[l ^ half];
                    x[i][l] = keep + given;
                }
            }
    });
}
