// What the files of the stand-in driver share: devices, streams, allocations, kernels, violations.
//
// Every entry point takes the lock first, and does its work at once on the calling thread. What a
// card would do later, in the order of its streams, is followed with vector clocks: see order.cpp.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#define API extern "C" __attribute__((visibility("default")))

typedef unsigned long long CUdeviceptr;

/// Codes of cuda.h that are returned here.
enum Result {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    NOT_INITIALIZED = 3,
    NO_DEVICE = 100,
    INVALID_DEVICE = 101,
    INVALID_CONTEXT = 201,
    NO_BINARY_FOR_GPU = 209,
    INVALID_PTX = 218,
    INVALID_HANDLE = 400,
    NOT_FOUND = 500,
};

namespace driver {

/// For what the library of cuBLAS calls in that of the driver.
#define SHARED_WITH_CUBLAS __attribute__((visibility("default")))

SHARED_WITH_CUBLAS std::recursive_mutex& lock_of_driver();
#define LOCK std::lock_guard<std::recursive_mutex> lock(driver::lock_of_driver())

/// Prints one sentence and ends the process: the program did what a card would punish.
[[noreturn]] SHARED_WITH_CUBLAS __attribute__((format(printf, 1, 2))) void fail(const char* sentence,
                                                                              ...);

/// What is being done, for the sentence about a memory fault. `text` outlives it.
struct Doing {
    const char* before;
    explicit Doing(const char* text);
    ~Doing();
};

/// A number from the environment.
long setting(const char* name, long otherwise);

/// How far each stream has come.
using Clock = std::map<int, uint64_t>;

struct Device {
    int index = 0;
    int retained = 0;
    size_t total = 0;
    /// Bytes in use, at their most, and held by the pool.
    size_t used = 0, peak = 0, reserved = 0;
    uint64_t threshold = 0;
    int capability() const;
};

struct Stream {
    int id;
    Device* device;
    /// Whether it waits for the default stream and the default stream for it.
    bool blocking;
    Clock clock;
};

struct Event {
    bool recorded = false;
    Clock clock;
    double at = 0.0;
};

/// The driver's own view of `stream`, the null stream of the thread's device included.
SHARED_WITH_CUBLAS Stream& stream_of(void* stream, const char* call);
void* new_stream(Device& device, bool blocking);
Device* current();
Device* device_at(int index);
int device_count();

/// Begins an operation in a stream's order.
SHARED_WITH_CUBLAS void begin(Stream& stream);
/// The host waits for all that these clocks know.
void host_waits(const Clock& clock);

enum Use { READ, WRITE };

struct Allocation {
    uintptr_t base;
    size_t size;
    Device* device;
    bool live, pooled;
    /// The last write and the reads since, as (stream, tick), and what wrote.
    std::pair<int, uint64_t> written;
    std::map<int, uint64_t> read;
    std::string writer;
};

bool is_device_address(uintptr_t address);
/// The live allocation that holds these bytes; ends the process where there is none.
SHARED_WITH_CUBLAS Allocation& inside(uint64_t address, size_t bytes, const char* call,
                                      const char* argument);
/// Notes a use of it in the order of `stream`; ends the process where another stream's use is not
/// known to be over.
SHARED_WITH_CUBLAS void use(Allocation& of, Stream& stream, Use how, const char* call,
                            const char* argument);
/// Ends the process if something was written beside the bytes of an allocation.
void check_guards(const Allocation& of, const char* call);
int allocate(CUdeviceptr* to, size_t bytes, Device& device, Stream* stream);
void release(CUdeviceptr address, Stream* stream, const char* call);
/// At a synchronisation the pool gives back what it holds beyond its threshold.
void settle_pool(Device& device);
void watch_faults();

struct Parameter {
    unsigned size;
    /// Of what a pointer points to; 0 of a number.
    unsigned element;
    bool writes;
    /// A list of addresses.
    bool table;
};

/// A kernel compiled for this machine.
struct Kernel {
    const char* name;
    std::vector<Parameter> parameters;
    /// Returns an error or null.
    const char* (*run)(const unsigned* grid, const unsigned* block, unsigned shared, void** args);
};

/// Called by the kernels' files when the library is loaded.
bool add(const Kernel& kernel);
const Kernel* find(const std::string& name);

/// Dry mode: see count.cpp.
SHARED_WITH_CUBLAS bool counting();
SHARED_WITH_CUBLAS void count(const char* what, uint64_t read, uint64_t written);
/// What a launch reads and writes by its arguments, in bytes, where that is known.
bool traffic(const Kernel& kernel, void** args, uint64_t& read, uint64_t& written);
SHARED_WITH_CUBLAS void count_product(const char* shape, double flops);
void count_wait();

}  // namespace driver
