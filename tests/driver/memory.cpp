// Device memory on the host. Each allocation ends at the end of its pages and is followed by an
// inaccessible page, so that an access behind it faults at once. The bytes before it on its first page,
// and up to 15 bytes behind it, hold a pattern that is checked after each use. No address is reused, so
// an access to freed memory faults too. New memory is filled with NaN.
#include "driver.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <deque>

namespace driver {

namespace {

constexpr size_t PAGE = 4096, REGION = size_t(1) << 43, ALIGN = 16, CHUNK = size_t(2) << 20;
constexpr unsigned char POISON = 0xff;
/// Number of freed allocations remembered for messages.
constexpr size_t REMEMBERED = 20000;

uintptr_t region, next_free;
std::map<uintptr_t, Allocation> allocations;
std::deque<uintptr_t> freed;
/// Number of allocations until one is refused; 0: none is.
long until_refused = 0;
__thread const char* doing = nullptr;

size_t rounded(size_t n, size_t to) { return (n + to - 1) / to * to; }

void reserve_region() {
    if (region) return;
    void* at = mmap(nullptr, REGION, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) fail("cannot reserve addresses for device memory");
    region = next_free = uintptr_t(at);
}

/// First page of an allocation, and the end of its last page.
uintptr_t begin_of(const Allocation& a) { return a.base / PAGE * PAGE; }
uintptr_t end_of(const Allocation& a) { return rounded(a.base + a.size, PAGE); }

const Allocation* nearest(uintptr_t address) {
    auto after = allocations.upper_bound(address);
    if (after == allocations.begin()) return nullptr;
    return &std::prev(after)->second;
}

struct sigaction before_us;

void on_fault(int signal, siginfo_t* info, void* context) {
    const uintptr_t address = uintptr_t(info->si_addr);
    const char* what = doing ? doing : "the host";
    if (signal == SIGSEGV && is_device_address(address)) {
        const Allocation* near = nearest(address);
        if (near && address < near->base + near->size && !near->live)
            fail("%s touches byte %zu of an allocation of %zu bytes that has been freed", what,
                 size_t(address - near->base), near->size);
        if (near)
            fail("%s touches byte %zu of an allocation of %zu bytes", what,
                 size_t(address - near->base), near->size);
        fail("%s touches device memory that was never allocated", what);
    }
    if (doing) fail("%s touches address 0x%zx, which is no device memory", what, size_t(address));
    // Not our memory: pass the signal to the program's own handler or the default.
    if (before_us.sa_flags & SA_SIGINFO && before_us.sa_sigaction)
        return before_us.sa_sigaction(signal, info, context);
    sigaction(signal, &before_us, nullptr);
}

}  // namespace

std::recursive_mutex& lock_of_driver() {
    static auto* lock = new std::recursive_mutex;
    return *lock;
}

void fail(const char* sentence, ...) {
    char text[2048];
    va_list args;
    va_start(args, sentence);
    int n = vsnprintf(text, sizeof text - 1, sentence, args);
    va_end(args);
    n = std::min<int>(n, sizeof text - 2);
    text[n++] = '\n';
    const char name[] = "stand-in driver: ";
    ssize_t ignored = write(2, name, sizeof name - 1);
    ignored = write(2, text, n);
    (void)ignored;
    _exit(97);
}

Doing::Doing(const char* text) : before(doing) { doing = text; }
Doing::~Doing() { doing = before; }

long setting(const char* name, long otherwise) {
    const char* text = getenv(name);
    return text && *text ? atol(text) : otherwise;
}

void watch_faults() {
    struct sigaction ours = {};
    ours.sa_sigaction = on_fault;
    // Runs on the current stack, at least a fiber's 64 KiB: Rust's own signal stack is too small.
    ours.sa_flags = SA_SIGINFO;
    sigaction(SIGSEGV, &ours, &before_us);
    sigaction(SIGBUS, &ours, nullptr);
}

bool is_device_address(uintptr_t a) { return region && a >= region && a < region + REGION; }

Allocation& inside(uint64_t address, size_t bytes, const char* call, const char* argument) {
    Allocation* found = const_cast<Allocation*>(nearest(address));
    if (!is_device_address(address))
        fail("%s: %s is 0x%llx, which is no address of device memory", call, argument,
             (unsigned long long)address);
    if (!found || address >= found->base + std::max<size_t>(found->size, 1))
        fail("%s: %s is no address inside an allocation", call, argument);
    if (!found->live)
        fail("%s: %s lies in an allocation of %zu bytes that has been freed", call, argument,
             found->size);
    const size_t offset = address - found->base;
    if (bytes > found->size - offset)
        fail("%s: %s takes %zu bytes from byte %zu of an allocation of %zu bytes", call, argument,
             bytes, offset, found->size);
    return *found;
}

void check_guards(const Allocation& a, const char* call) {
    if (counting()) return;
    const auto* from = reinterpret_cast<const unsigned char*>(begin_of(a));
    const auto* own = reinterpret_cast<const unsigned char*>(a.base);
    const auto* end = reinterpret_cast<const unsigned char*>(end_of(a));
    for (const auto* p = from; p < own; p++)
        if (*p != POISON)
            fail("%s wrote %zu bytes before an allocation of %zu bytes", call, size_t(own - p),
                 a.size);
    for (const auto* p = own + a.size; p < end; p++)
        if (*p != POISON)
            fail("%s wrote at byte %zu of an allocation of %zu bytes", call, size_t(p - own), a.size);
}

int allocate(CUdeviceptr* to, size_t bytes, Device& device, Stream* stream) {
    if (bytes == 0) return INVALID_VALUE;
    if (until_refused > 0 && --until_refused == 0) return OUT_OF_MEMORY;
    const size_t counted = rounded(bytes, 512);
    if (device.used + counted > device.total) return OUT_OF_MEMORY;
    reserve_region();
    const size_t pages = rounded(bytes, PAGE);
    if (next_free + pages + PAGE > region + REGION) fail("all device addresses have been given");
    const uintptr_t from = next_free;
    if (!counting() && mprotect(reinterpret_cast<void*>(from), pages, PROT_READ | PROT_WRITE) != 0)
        fail("this machine has no %zu bytes for device memory", bytes);
    next_free += pages + PAGE;
    if (!counting()) memset(reinterpret_cast<void*>(from), POISON, pages);
    const uintptr_t base = from + pages - rounded(bytes, ALIGN);
    device.used += counted;
    device.peak = std::max(device.peak, device.used);
    device.reserved = std::max(device.reserved, rounded(device.used, CHUNK));
    std::pair<int, uint64_t> written = {-1, 0};
    if (stream) {
        begin(*stream);
        written = {stream->id, stream->clock[stream->id]};
    }
    allocations[base] = {base, bytes, &device, true, stream != nullptr, written, {}, "its allocation"};
    *to = base;
    return SUCCESS;
}

void release(CUdeviceptr address, Stream* stream, const char* call) {
    auto found = allocations.find(address);
    if (found == allocations.end() || !found->second.live) {
        inside(address, 0, call, "the address");
        fail("%s: the address is not the first of an allocation", call);
    }
    Allocation& a = found->second;
    if (stream) {
        begin(*stream);
        use(a, *stream, WRITE, call, "the address");
    }
    check_guards(a, call);
    a.live = false;
    a.read.clear();
    a.device->used -= rounded(a.size, 512);
    if (!counting())
        mmap(reinterpret_cast<void*>(begin_of(a)), end_of(a) - begin_of(a), PROT_NONE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    freed.push_back(a.base);
    if (freed.size() > REMEMBERED) {
        allocations.erase(freed.front());
        freed.pop_front();
    }
}

void settle_pool(Device& device) {
    const size_t used = rounded(device.used, CHUNK);
    if (device.reserved > device.threshold)
        device.reserved = std::max<size_t>(used, std::min<uint64_t>(device.threshold, device.reserved));
}

}  // namespace driver

/// For tests, which look it up in the library: makes the n-th allocation from now fail.
API void driver_refuse(long n) {
    LOCK;
    driver::until_refused = n;
}

/// For tests: leaves `bytes` of device 0's memory free.
API void driver_leave(size_t bytes) {
    LOCK;
    driver::Device& device = *driver::device_at(0);
    device.total = device.used + bytes;
}
