// Modules and launches. A module's PTX is parsed for its kernels' parameters. A launch is checked
// against them, the limits of the device and the memory that its pointers name; then the kernel of that
// name, compiled for the host, runs.
#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "driver.h"

namespace driver {

namespace {

std::map<std::string, Kernel>& kernels() {
    static std::map<std::string, Kernel> all;
    return all;
}

/// A kernel's declaration in the PTX.
struct Entry {
    std::vector<unsigned> sizes;
    /// Maximum threads per block; 0 if not given.
    unsigned threads = 0;
    /// Bytes of statically declared shared memory.
    unsigned shared = 0;
};

struct Module {
    Device* device;
    /// Whether there is PTX to parse: nvcc-stub's output is a comment.
    bool real = false;
    std::map<std::string, Entry> entries;
};

struct Function {
    Module* module;
    const Kernel* kernel;
    unsigned threads = 1024, shared = 0;
    unsigned dynamic_limit = 48 << 10;
};

/// The number after `key` in `text`, or 0.
unsigned number_after(const std::string& text, const char* key) {
    const size_t at = text.find(key);
    return at == std::string::npos ? 0 : unsigned(atoi(text.c_str() + at + strlen(key)));
}

/// Size in bytes of a parameter such as ".param .align 4 .b8 name[16]" or ".param .u64 name".
unsigned size_of(const std::string& parameter) {
    unsigned size = 0;
    for (const char* type : {".u", ".s", ".f", ".b"}) {
        for (size_t at = parameter.find(type); at != std::string::npos;
             at = parameter.find(type, at + 1)) {
            if (isdigit(parameter[at + 2])) size = unsigned(atoi(parameter.c_str() + at + 2)) / 8;
        }
    }
    const size_t length = parameter.find('[');
    return length == std::string::npos ? size : size * unsigned(atoi(parameter.c_str() + length + 1));
}

Entry read_entry(const std::string& ptx, size_t open) {
    Entry entry;
    const size_t close = ptx.find(')', open), body = ptx.find('{', close);
    std::string list = ptx.substr(open + 1, close - open - 1);
    for (size_t at = list.find(".param"); at != std::string::npos;) {
        const size_t next = list.find(".param", at + 1);
        entry.sizes.push_back(size_of(list.substr(at, next - at)));
        at = next;
    }
    entry.threads = number_after(ptx.substr(close, body - close), ".maxntid");
    size_t end = ptx.find("\n}", body);
    for (size_t at = ptx.find("\n\t.shared", body); at < end; at = ptx.find("\n\t.shared", at + 1))
        entry.shared += size_of(ptx.substr(at, ptx.find(';', at) - at));
    return entry;
}

int read_module(const std::string& ptx, Module& module) {
    const size_t version = ptx.find("\n.version ");
    if (version == std::string::npos) return SUCCESS;
    module.real = true;
    if (int(number_after(ptx, ".target sm_")) > module.device->capability()) return NO_BINARY_FOR_GPU;
    const std::string key = ".entry ";
    for (size_t at = ptx.find(key); at != std::string::npos; at = ptx.find(key, at + 1)) {
        const size_t from = at + key.size(), open = ptx.find('(', from);
        module.entries[ptx.substr(from, open - from)] = read_entry(ptx, open);
    }
    return module.entries.empty() ? INVALID_PTX : SUCCESS;
}

/// Checks that the PTX was made from the source compiled here.
void compare(const Kernel& kernel, const Entry& entry) {
    const size_t ours = kernel.parameters.size();
    if (entry.sizes.size() != ours)
        fail("kernel %s takes %zu arguments in the PTX and %zu in the source", kernel.name,
             entry.sizes.size(), ours);
    for (size_t i = 0; i < ours; i++)
        if (entry.sizes[i] != kernel.parameters[i].size)
            fail("argument %zu of kernel %s has %u bytes in the PTX and %u in the source", i,
                 kernel.name, entry.sizes[i], kernel.parameters[i].size);
}

void check_limits(const Function& f, const unsigned* grid, const unsigned* block, unsigned shared) {
    const char* name = f.kernel->name;
    const uint64_t threads = uint64_t(block[0]) * block[1] * block[2];
    for (int i = 0; i < 3; i++)
        if (grid[i] == 0 || block[i] == 0)
            fail("kernel %s: a grid of %u × %u × %u blocks of %u × %u × %u threads", name, grid[0],
                 grid[1], grid[2], block[0], block[1], block[2]);
    if (grid[0] > 0x7fffffff || grid[1] > 65535 || grid[2] > 65535)
        fail("kernel %s: a grid of %u × %u × %u blocks is over the limits of 2147483647, 65535 and "
             "65535",
             name, grid[0], grid[1], grid[2]);
    if (block[2] > 64 || threads > f.threads)
        fail("kernel %s: blocks of %u × %u × %u threads, at most %u (64 along z) are allowed", name,
             block[0], block[1], block[2], f.threads);
    if (shared + f.shared > (shared ? std::max(f.dynamic_limit, 48u << 10) : 48u << 10))
        fail("kernel %s: %u bytes of shared memory a block and %u of its own, %u are allowed", name,
             shared, f.shared, f.dynamic_limit);
}

/// Records the memory that an argument uses. `call` names the kernel.
void use_argument(const Parameter& p, void* value, Stream& stream, const char* call, const char* which,
                  std::vector<Allocation*>& used) {
    uint64_t address;
    memcpy(&address, value, 8);
    if (address == 0) return;
    Allocation& a = inside(address, p.element, call, which);
    if (address % p.element != 0)
        fail("%s: %s, 0x%llx, is not aligned to its elements of %u bytes", call, which,
             (unsigned long long)address, p.element);
    use(a, stream, p.writes ? WRITE : READ, call, which);
    used.push_back(&a);
    if (!p.table || counting()) return;
    for (uint64_t at = address; at + 8 <= a.base + a.size; at += 8) {
        uint64_t listed;
        memcpy(&listed, reinterpret_cast<void*>(at), 8);
        Allocation& of = inside(listed, 4, call, "an address in its list");
        use(of, stream, WRITE, call, "an address in its list");
        used.push_back(&of);
    }
}

}  // namespace

bool add(const Kernel& kernel) { return kernels().insert({kernel.name, kernel}).second; }

const Kernel* find(const std::string& name) {
    auto found = kernels().find(name);
    return found == kernels().end() ? nullptr : &found->second;
}

}  // namespace driver

using namespace driver;

API int cuModuleLoadData(void** to, const void* image) {
    LOCK;
    if (!current()) return INVALID_CONTEXT;
    auto* module = new Module{current(), false, {}};
    *to = module;
    return read_module("\n" + std::string(static_cast<const char*>(image)), *module);
}

API int cuModuleUnload(void*) { return SUCCESS; }

API int cuModuleGetFunction(void** to, void* handle, const char* name) {
    LOCK;
    auto* module = static_cast<Module*>(handle);
    auto entry = module->entries.find(name);
    if (module->real && entry == module->entries.end()) return NOT_FOUND;
    const Kernel* kernel = find(name);
    if (!kernel) fail("kernel %s was not compiled for this machine", name);
    auto* function = new Function{module, kernel};
    if (module->real) {
        compare(*kernel, entry->second);
        if (entry->second.threads) function->threads = entry->second.threads;
        function->shared = entry->second.shared;
    }
    *to = function;
    return SUCCESS;
}

API int cuFuncSetAttribute(void* handle, int attribute, int value) {
    LOCK;
    auto* f = static_cast<Function*>(handle);
    int limit = 0;
    // CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES: check it against the device's limit.
    if (attribute != 8) return SUCCESS;
    extern int cuDeviceGetAttribute(int*, int, int) __asm__("cuDeviceGetAttribute");
    cuDeviceGetAttribute(&limit, 97, f->module->device->index);
    if (value + int(f->shared) > limit) return INVALID_VALUE;
    f->dynamic_limit = unsigned(value);
    return SUCCESS;
}

API int cuLaunchKernel(void* handle, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                       unsigned bz, unsigned shared, void* stream_handle, void** args, void**) {
    LOCK;
    auto* f = static_cast<Function*>(handle);
    const Kernel& kernel = *f->kernel;
    const std::string call = std::string("kernel ") + kernel.name;
    Stream& stream = stream_of(stream_handle, call.c_str());
    if (f->module->device != stream.device)
        fail("%s: its module is loaded on device %d, the stream is of device %d", call.c_str(),
             f->module->device->index, stream.device->index);
    const unsigned grid[3] = {gx, gy, gz}, block[3] = {bx, by, bz};
    check_limits(*f, grid, block, shared);

    begin(stream);
    std::vector<Allocation*> used;
    for (size_t i = 0; i < kernel.parameters.size(); i++) {
        const Parameter& p = kernel.parameters[i];
        char which[32];
        snprintf(which, sizeof which, "argument %zu", i);
        Doing doing(call.c_str());
        if (!args[i]) fail("%s: %s is missing, it takes %zu", call.c_str(), which, kernel.parameters.size());
        if (p.element) use_argument(p, args[i], stream, call.c_str(), which, used);
    }
    if (counting()) {
        uint64_t read = 0, written = 0;
        const bool known = traffic(kernel, args, read, written);
        for (size_t i = 0, at = 0; !known && i < kernel.parameters.size(); i++) {
            uint64_t address = 0;
            if (!kernel.parameters[i].element) continue;
            memcpy(&address, args[i], 8);
            if (!address) continue;
            const Allocation& a = *used[at++];
            (kernel.parameters[i].writes ? written : read) += a.base + a.size - address;
        }
        count(kernel.name, read, written);
        return SUCCESS;
    }
    const char* error;
    {
        Doing doing(call.c_str());
        error = kernel.run(grid, block, shared, args);
    }
    if (error) fail("%s: %s", call.c_str(), error);
    for (const Allocation* a : used) check_guards(*a, call.c_str());
    return SUCCESS;
}
