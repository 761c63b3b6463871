// Shared by the files of the stand-in driver: devices, streams, allocations, kernels, violations.
//
// Every entry point takes the lock first and does its work at once on the calling thread. The
// asynchronous order of a GPU's streams is tracked with vector clocks: see order.cpp.
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

/// The codes of cuda.h that the driver returns.
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

/// Exports a function of the driver's library to the cuBLAS library.
#define SHARED_WITH_CUBLAS __attribute__((visibility("default")))

SHARED_WITH_CUBLAS std::recursive_mutex& lock_of_driver();
#define LOCK std::lock_guard<std::recursive_mutex> lock(driver::lock_of_driver())

/// Prints one sentence and ends the process: the program made an error that would fail on a GPU.
[[noreturn]] SHARED_WITH_CUBLAS __attribute__((format(printf, 1, 2))) void fail(const char* sentence,
                                                                              ...);

/// The current operation, named in the message of a memory fault. `text` must outlive it.
struct Doing {
    const char* before;
    explicit Doing(const char* text);
    ~Doing();
};

/// A number from the environment.
long setting(const char* name, long otherwise);

/// Progress of each stream.
using Clock = std::map<int, uint64_t>;

struct Device {
    int index = 0;
    int retained = 0;
    size_t total = 0;
    /// Bytes in use, peak bytes in use, and bytes held by the pool.
    size_t used = 0, peak = 0, reserved = 0;
    uint64_t threshold = 0;
    int capability() const;
};

struct Stream {
    int id;
    Device* device;
    /// Whether it synchronises with the default stream.
    bool blocking;
    Clock clock;
};

struct Event {
    bool recorded = false;
    Clock clock;
    double at = 0.0;
};

/// Returns the driver's object for `stream`, which may be the null stream of the thread's device.
SHARED_WITH_CUBLAS Stream& stream_of(void* stream, const char* call);
void* new_stream(Device& device, bool blocking);
Device* current();
Device* device_at(int index);
int device_count();

/// Starts an operation in a stream's order.
SHARED_WITH_CUBLAS void begin(Stream& stream);
/// Makes the host wait for all operations in this clock.
void host_waits(const Clock& clock);

enum Use { READ, WRITE };

struct Allocation {
    uintptr_t base;
    size_t size;
    Device* device;
    bool live, pooled;
    /// The last write, the reads since then, as (stream, tick), and the name of the writer.
    std::pair<int, uint64_t> written;
    std::map<int, uint64_t> read;
    std::string writer;
};

bool is_device_address(uintptr_t address);
/// Returns the live allocation that holds these bytes; ends the process if there is none.
SHARED_WITH_CUBLAS Allocation& inside(uint64_t address, size_t bytes, const char* call,
                                      const char* argument);
/// Records a use in the order of `stream`; ends the process if another stream's conflicting use is not
/// known to be complete.
SHARED_WITH_CUBLAS void use(Allocation& of, Stream& stream, Use how, const char* call,
                            const char* argument);
/// Ends the process if anything was written next to the bytes of an allocation.
void check_guards(const Allocation& of, const char* call);
int allocate(CUdeviceptr* to, size_t bytes, Device& device, Stream* stream);
void release(CUdeviceptr address, Stream* stream, const char* call);
/// Frees the pool's memory beyond its threshold, as at a synchronisation.
void settle_pool(Device& device);
void watch_faults();

struct Parameter {
    unsigned size;
    /// Size of the pointer's element; 0 for a number.
    unsigned element;
    bool writes;
    /// Whether it is a list of addresses.
    bool table;
};

/// A kernel compiled for the host.
struct Kernel {
    const char* name;
    std::vector<Parameter> parameters;
    /// Returns an error message or null.
    const char* (*run)(const unsigned* grid, const unsigned* block, unsigned shared, void** args);
};

/// Called by the kernels' files when the library is loaded.
bool add(const Kernel& kernel);
const Kernel* find(const std::string& name);

/// Dry mode: see count.cpp.
SHARED_WITH_CUBLAS bool counting();
SHARED_WITH_CUBLAS void count(const char* what, uint64_t read, uint64_t written);
/// The bytes that a launch reads and writes according to its arguments, if known.
bool traffic(const Kernel& kernel, void** args, uint64_t& read, uint64_t& written);
SHARED_WITH_CUBLAS void count_product(const char* shape, double flops);
void count_wait();

}  // namespace driver
