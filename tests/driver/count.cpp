// Dry mode, DRIVER_COUNT=1: computes nothing and backs no memory, but counts everything and prints the
// counts as one line of JSON on stderr when the process ends. Reading back gives zeros.
//
// The bytes of a launch of our kernels are those it reads and writes according to its arguments
// (traffic.cpp). For other kernels each pointer counts up to the end of its allocation: exact for
// kernels on whole tensors, too much for parts. AdamW's bytes, whose addresses are in tables, are not
// counted.
#include <cstdio>
#include <cstdlib>

#include "driver.h"

namespace driver {

namespace {

struct Count {
    uint64_t calls = 0, read = 0, written = 0;
};
std::map<std::string, Count> work;
std::map<std::string, std::pair<uint64_t, double>> shapes;
uint64_t waits;

void print_map(const char* name, bool& first) {
    fprintf(stderr, "%s\"%s\"", first ? "" : ", ", name);
    first = false;
}

void print() {
    Count all;
    double flops = 0;
    for (const auto& [name, c] : work) {
        all.calls += c.calls;
        all.read += c.read;
        all.written += c.written;
    }
    for (const auto& [name, of] : shapes) flops += of.second;
    size_t peak = 0;
    for (int i = 0; i < device_count(); i++) peak = std::max(peak, device_at(i)->peak);
    fprintf(stderr,
            "{\"launches\": %llu, \"host_waits\": %llu, \"read\": %llu, \"written\": %llu, "
            "\"flops\": %.0f, \"peak\": %zu, \"work\": {",
            (unsigned long long)all.calls, (unsigned long long)waits, (unsigned long long)all.read,
            (unsigned long long)all.written, flops, peak);
    bool first = true;
    for (const auto& [name, c] : work) {
        print_map(name.c_str(), first);
        fprintf(stderr, ": {\"calls\": %llu, \"read\": %llu, \"written\": %llu}",
                (unsigned long long)c.calls, (unsigned long long)c.read, (unsigned long long)c.written);
    }
    fprintf(stderr, "}, \"products\": {");
    first = true;
    for (const auto& [name, of] : shapes) {
        print_map(name.c_str(), first);
        fprintf(stderr, ": {\"calls\": %llu, \"flops\": %.0f}", (unsigned long long)of.first, of.second);
    }
    fprintf(stderr, "}}\n");
}

}  // namespace

bool counting() {
    static const bool on = [] {
        const bool asked = setting("DRIVER_COUNT", 0) != 0;
        if (asked) atexit(print);
        return asked;
    }();
    return on;
}

void count(const char* what, uint64_t read, uint64_t written) {
    Count& c = work[what];
    c.calls++;
    c.read += read;
    c.written += written;
}

void count_product(const char* shape, double flops) {
    auto& [calls, all] = shapes[shape];
    calls++;
    all += flops;
}

void count_wait() { waits++; }

}  // namespace driver
