// Devices, their contexts and pools, memory calls and copies.
//
// The devices are set by the environment: DRIVER_DEVICES (number, default 1), DRIVER_MEMORY (MiB each,
// 8192), DRIVER_CAP (compute capability, 80), DRIVER_VERSION (13000), DRIVER_NO_POOLS (1: no memory
// pools), DRIVER_FAIL_POOL (1: pools exist, but every call that asks for one fails), DRIVER_COUNT (1:
// dry mode, see count.cpp).
#include "driver.h"

#include <stdio.h>
#include <string.h>

#include <algorithm>
#include <set>

namespace driver {

namespace {

bool initialised;
std::vector<Device*>& devices() {
    static std::vector<Device*> all;
    if (all.empty()) {
        for (int i = 0; i < setting("DRIVER_DEVICES", 1); i++) {
            all.push_back(new Device);
            all.back()->index = i;
            all.back()->total = size_t(setting("DRIVER_MEMORY", 8192)) << 20;
        }
    }
    return all;
}
__thread Device* on_thread;
/// Pinned host memory, allocated here.
std::map<uintptr_t, size_t> pinned;

int shared_limit(int capability) {
    switch (capability) {
        case 70: return 96;
        case 75: return 64;
        case 80: case 87: return 163;
        case 86: case 89: case 120: return 99;
        default: return 227;
    }
}

}  // namespace

int Device::capability() const { return int(setting("DRIVER_CAP", 80)); }
Device* current() { return on_thread && on_thread->retained ? on_thread : nullptr; }
int device_count() { return int(devices().size()); }
Device* device_at(int index) {
    return index < 0 || index >= device_count() ? nullptr : devices()[index];
}

}  // namespace driver

using namespace driver;

API int cuInit(unsigned) {
    LOCK;
    if (devices().empty()) return NO_DEVICE;
    if (!initialised) watch_faults();
    initialised = true;
    return SUCCESS;
}

API int cuDriverGetVersion(int* version) {
    *version = int(setting("DRIVER_VERSION", 13000));
    return SUCCESS;
}

API int cuDeviceGetCount(int* count) {
    if (!initialised) return NOT_INITIALIZED;
    *count = device_count();
    return SUCCESS;
}

API int cuDeviceGet(int* device, int index) {
    if (!initialised) return NOT_INITIALIZED;
    if (!device_at(index)) return INVALID_DEVICE;
    *device = index;
    return SUCCESS;
}

API int cuDeviceGetName(char* name, int length, int device) {
    if (!device_at(device)) return INVALID_DEVICE;
    snprintf(name, size_t(length), "Stand-in %d", device);
    return SUCCESS;
}

API int cuDeviceGetUuid_v2(char* uuid, int device) {
    if (!device_at(device)) return INVALID_DEVICE;
    memset(uuid, device + 1, 16);
    return SUCCESS;
}

API int cuDeviceTotalMem_v2(size_t* bytes, int device) {
    if (!device_at(device)) return INVALID_DEVICE;
    *bytes = device_at(device)->total;
    return SUCCESS;
}

API int cuDeviceGetAttribute(int* value, int attribute, int device) {
    const Device* d = device_at(device);
    if (!d) return INVALID_DEVICE;
    switch (attribute) {
        case 1: case 2: case 3: *value = 1024; return SUCCESS;
        case 4: *value = 64; return SUCCESS;
        case 5: *value = 0x7fffffff; return SUCCESS;
        case 6: case 7: *value = 65535; return SUCCESS;
        case 8: *value = 48 << 10; return SUCCESS;
        case 10: *value = 32; return SUCCESS;
        case 13: *value = 1000000; return SUCCESS;
        case 16: *value = 108; return SUCCESS;
        case 75: *value = d->capability() / 10; return SUCCESS;
        case 76: *value = d->capability() % 10; return SUCCESS;
        case 97: *value = shared_limit(d->capability()) << 10; return SUCCESS;
        case 115: *value = setting("DRIVER_NO_POOLS", 0) ? 0 : 1; return SUCCESS;
        default: fail("cuDeviceGetAttribute: attribute %d is not known here", attribute);
    }
}

API int cuDevicePrimaryCtxRetain(void** context, int device) {
    LOCK;
    if (!device_at(device)) return INVALID_DEVICE;
    device_at(device)->retained++;
    *context = device_at(device);
    return SUCCESS;
}

API int cuDevicePrimaryCtxRelease_v2(int device) {
    LOCK;
    if (!device_at(device) || device_at(device)->retained == 0) return INVALID_CONTEXT;
    device_at(device)->retained--;
    return SUCCESS;
}

API int cuCtxGetCurrent(void** context) {
    *context = current();
    return SUCCESS;
}

API int cuCtxSetCurrent(void* context) {
    LOCK;
    const auto& all = devices();
    if (context && std::find(all.begin(), all.end(), context) == all.end())
        fail("cuCtxSetCurrent: no such context");
    on_thread = static_cast<Device*>(context);
    return SUCCESS;
}

API int cuCtxGetDevice(int* device) {
    if (!current()) return INVALID_CONTEXT;
    *device = current()->index;
    return SUCCESS;
}

API int cuDeviceGetDefaultMemPool(void** pool, int device) {
    if (!device_at(device)) return INVALID_DEVICE;
    if (setting("DRIVER_FAIL_POOL", 0)) return 801;
    *pool = device_at(device);
    return SUCCESS;
}

API int cuDeviceGetMemPool(void** pool, int device) {
    return cuDeviceGetDefaultMemPool(pool, device);
}

API int cuMemPoolSetAttribute(void* pool, int attribute, void* value) {
    LOCK;
    if (setting("DRIVER_FAIL_POOL", 0)) return INVALID_VALUE;
    auto* d = static_cast<Device*>(pool);
    if (attribute == 4) d->threshold = *static_cast<uint64_t*>(value);
    else if (attribute == 8) d->peak = d->used;
    else fail("cuMemPoolSetAttribute: attribute %d is not known here", attribute);
    return SUCCESS;
}

API int cuMemPoolGetAttribute(void* pool, int attribute, uint64_t* value) {
    LOCK;
    if (setting("DRIVER_FAIL_POOL", 0)) return INVALID_VALUE;
    const auto* d = static_cast<Device*>(pool);
    switch (attribute) {
        case 4: *value = d->threshold; return SUCCESS;
        case 5: *value = d->reserved; return SUCCESS;
        case 7: *value = d->used; return SUCCESS;
        case 8: *value = d->peak; return SUCCESS;
        default: fail("cuMemPoolGetAttribute: attribute %d is not known here", attribute);
    }
}

API int cuMemPoolTrimTo(void* pool, size_t keep) {
    LOCK;
    auto* d = static_cast<Device*>(pool);
    d->reserved = std::min(d->reserved, std::max(keep, d->used));
    return SUCCESS;
}

API int cuMemGetInfo_v2(size_t* free, size_t* total) {
    LOCK;
    if (!current()) return INVALID_CONTEXT;
    *total = current()->total;
    *free = *total - std::min(*total, std::max(current()->reserved, current()->used));
    return SUCCESS;
}

API int cuMemAllocAsync(CUdeviceptr* to, size_t bytes, void* handle) {
    LOCK;
    Stream& stream = stream_of(handle, "cuMemAllocAsync");
    *to = 0;
    return bytes == 0 ? int(SUCCESS) : allocate(to, bytes, *stream.device, &stream);
}

API int cuMemFreeAsync(CUdeviceptr address, void* handle) {
    LOCK;
    Stream& stream = stream_of(handle, "cuMemFreeAsync");
    if (address) release(address, &stream, "cuMemFreeAsync");
    return SUCCESS;
}

API int cuMemAlloc_v2(CUdeviceptr* to, size_t bytes) {
    LOCK;
    if (!current()) return INVALID_CONTEXT;
    return allocate(to, bytes, *current(), nullptr);
}

API int cuCtxSynchronize(void);
API int cuMemFree_v2(CUdeviceptr address) {
    LOCK;
    cuCtxSynchronize();
    if (address) release(address, nullptr, "cuMemFree");
    return SUCCESS;
}

API int cuMemHostAlloc(void** to, size_t bytes, unsigned) {
    LOCK;
    if (bytes == 0) return INVALID_VALUE;
    *to = malloc(bytes);
    pinned[uintptr_t(*to)] = bytes;
    return SUCCESS;
}

API int cuMemFreeHost(void* address) {
    LOCK;
    if (!pinned.erase(uintptr_t(address))) fail("cuMemFreeHost: the address is not of cuMemHostAlloc");
    // The driver waits for operations that may still read or write it.
    cuCtxSynchronize();
    free(address);
    return SUCCESS;
}

API int cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t bytes, void* handle) {
    LOCK;
    const char* call = "cuMemsetD8Async";
    Stream& stream = stream_of(handle, call);
    if (bytes == 0) return SUCCESS;
    Allocation& a = inside(to, bytes, call, "the destination");
    begin(stream);
    use(a, stream, WRITE, call, "the destination");
    if (counting()) return count(call, 0, bytes), SUCCESS;
    memset(reinterpret_cast<void*>(to), value, bytes);
    return SUCCESS;
}

API int cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void* from, size_t bytes, void* handle) {
    LOCK;
    const char* call = "cuMemcpyHtoDAsync";
    Stream& stream = stream_of(handle, call);
    if (bytes == 0) return SUCCESS;
    Allocation& a = inside(to, bytes, call, "the destination");
    if (is_device_address(uintptr_t(from))) fail("%s: the source is device memory", call);
    begin(stream);
    use(a, stream, WRITE, call, "the destination");
    if (counting()) return count(call, 0, bytes), SUCCESS;
    Doing doing(call);
    memcpy(reinterpret_cast<void*>(to), from, bytes);
    return SUCCESS;
}

API int cuMemcpyDtoHAsync_v2(void* to, CUdeviceptr from, size_t bytes, void* handle) {
    LOCK;
    const char* call = "cuMemcpyDtoHAsync";
    Stream& stream = stream_of(handle, call);
    if (bytes == 0) return SUCCESS;
    Allocation& a = inside(from, bytes, call, "the source");
    if (is_device_address(uintptr_t(to))) fail("%s: the destination is device memory", call);
    begin(stream);
    use(a, stream, READ, call, "the source");
    Doing doing(call);
    if (counting()) {
        count(call, bytes, 0);
        memset(to, 0, bytes);
    } else {
        memcpy(to, reinterpret_cast<const void*>(from), bytes);
    }
    // With a target that is not pinned, the call returns when the copy is complete.
    auto after = pinned.upper_bound(uintptr_t(to));
    const bool is_pinned = after != pinned.begin() &&
                           uintptr_t(to) < std::prev(after)->first + std::prev(after)->second;
    if (!is_pinned) {
        host_waits(stream.clock);
        count_wait();
    }
    return SUCCESS;
}

API int cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, void* handle) {
    LOCK;
    const char* call = "cuMemcpyDtoDAsync";
    Stream& stream = stream_of(handle, call);
    if (bytes == 0) return SUCCESS;
    Allocation& target = inside(to, bytes, call, "the destination");
    Allocation& source = inside(from, bytes, call, "the source");
    if (to < from + bytes && from < to + bytes) fail("%s: source and destination overlap", call);
    begin(stream);
    use(source, stream, READ, call, "the source");
    use(target, stream, WRITE, call, "the destination");
    if (counting()) return count(call, bytes, bytes), SUCCESS;
    memcpy(reinterpret_cast<void*>(to), reinterpret_cast<const void*>(from), bytes);
    return SUCCESS;
}

API int cuMemcpyHtoD_v2(CUdeviceptr to, const void* from, size_t bytes) {
    return cuMemcpyHtoDAsync_v2(to, from, bytes, nullptr);
}
API int cuMemcpyDtoH_v2(void* to, CUdeviceptr from, size_t bytes) {
    return cuMemcpyDtoHAsync_v2(to, from, bytes, nullptr);
}
API int cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
    return cuMemcpyDtoDAsync_v2(to, from, bytes, nullptr);
}
API int cuMemsetD8_v2(CUdeviceptr to, unsigned char value, size_t bytes) {
    return cuMemsetD8Async(to, value, bytes, nullptr);
}

API int cuGetErrorName(int code, const char** name) {
    switch (code) {
        case SUCCESS: *name = "CUDA_SUCCESS"; break;
        case INVALID_VALUE: *name = "CUDA_ERROR_INVALID_VALUE"; break;
        case OUT_OF_MEMORY: *name = "CUDA_ERROR_OUT_OF_MEMORY"; break;
        case NO_DEVICE: *name = "CUDA_ERROR_NO_DEVICE"; break;
        case INVALID_DEVICE: *name = "CUDA_ERROR_INVALID_DEVICE"; break;
        case NOT_FOUND: *name = "CUDA_ERROR_NOT_FOUND"; break;
        case NO_BINARY_FOR_GPU: *name = "CUDA_ERROR_NO_BINARY_FOR_GPU"; break;
        case INVALID_PTX: *name = "CUDA_ERROR_INVALID_PTX"; break;
        default: *name = "CUDA_ERROR_UNKNOWN";
    }
    return SUCCESS;
}

API int cuGetErrorString(int code, const char** text) {
    switch (code) {
        case OUT_OF_MEMORY: *text = "out of memory"; break;
        case INVALID_VALUE: *text = "invalid argument"; break;
        case NOT_FOUND: *text = "named symbol not found"; break;
        default: return cuGetErrorName(code, text);
    }
    return SUCCESS;
}
