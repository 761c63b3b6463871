// Streams and events. A stream's clock records, for each stream, the operations known to be complete
// when its own next operation starts: through events it waited for, or through the host when it issued
// the operation. Using memory after an operation that is not among them is a race on a GPU.
#include "driver.h"

#include <time.h>

#include <memory>
#include <set>

namespace driver {

namespace {

/// Operations that the host has waited for, over all threads.
Clock host;
std::vector<std::unique_ptr<Stream>> streams;
std::set<void*> living, events;

void join(Clock& to, const Clock& from) {
    for (auto [stream, tick] : from) {
        uint64_t& own = to[stream];
        if (own < tick) own = tick;
    }
}

bool knows(const Clock& clock, int stream, uint64_t tick) {
    auto found = clock.find(stream);
    return stream < 0 || (found != clock.end() && found->second >= tick);
}

double now() {
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e3 + t.tv_nsec * 1e-6;
}

Stream& null_stream(Device& device) {
    static std::map<int, Stream*> of;
    Stream*& stream = of[device.index];
    if (!stream) stream = static_cast<Stream*>(new_stream(device, true));
    return *stream;
}

Event& event_of(void* event, const char* call) {
    if (!events.count(event)) fail("%s: the event was not created, or destroyed", call);
    return *static_cast<Event*>(event);
}

}  // namespace

void* new_stream(Device& device, bool blocking) {
    auto stream = std::make_unique<Stream>();
    *stream = {int(streams.size()), &device, blocking, {}};
    living.insert(stream.get());
    streams.push_back(std::move(stream));
    return streams.back().get();
}

Stream& stream_of(void* handle, const char* call) {
    Device* device = current();
    if (!device) fail("%s: no context is current on this thread", call);
    // CU_STREAM_LEGACY and _PER_THREAD are 1 and 2.
    if (uintptr_t(handle) <= 2) return null_stream(*device);
    if (!living.count(handle)) fail("%s: the stream was not created, or destroyed", call);
    auto& stream = *static_cast<Stream*>(handle);
    if (stream.device != device)
        fail("%s: the stream is of device %d, the context that is current of device %d", call,
             stream.device->index, device->index);
    return stream;
}

void begin(Stream& stream) {
    join(stream.clock, host);
    Stream& null = null_stream(*stream.device);
    if (&stream == &null) {
        for (auto& other : streams)
            if (other->blocking && other->device == stream.device && other.get() != &stream)
                join(stream.clock, other->clock);
    } else if (stream.blocking) {
        join(stream.clock, null.clock);
    }
    stream.clock[stream.id]++;
}

void host_waits(const Clock& clock) { join(host, clock); }

void use(Allocation& of, Stream& stream, Use how, const char* call, const char* argument) {
    if (of.device != stream.device)
        fail("%s: %s is memory of device %d, the stream is of device %d", call, argument,
             of.device->index, stream.device->index);
    if (!knows(stream.clock, of.written.first, of.written.second))
        fail("%s: %s is used on stream %d, but %s on stream %d may not be over: no event or "
             "synchronisation lies between",
             call, argument, stream.id, of.writer.c_str(), of.written.first);
    if (how == WRITE) {
        for (auto [id, tick] : of.read)
            if (!knows(stream.clock, id, tick))
                fail("%s: %s is written on stream %d while stream %d may still read it: no event or "
                     "synchronisation lies between",
                     call, argument, stream.id, id);
        of.read.clear();
        of.written = {stream.id, stream.clock[stream.id]};
        if (of.writer != call) of.writer = call;
    } else {
        of.read[stream.id] = stream.clock[stream.id];
    }
}

}  // namespace driver

using namespace driver;

API int cuStreamCreateWithPriority(void** to, unsigned flags, int) {
    LOCK;
    if (!current()) return INVALID_CONTEXT;
    // CU_STREAM_NON_BLOCKING is 1.
    *to = new_stream(*current(), (flags & 1) == 0);
    return SUCCESS;
}

API int cuStreamCreate(void** to, unsigned flags) { return cuStreamCreateWithPriority(to, flags, 0); }

API int cuStreamDestroy_v2(void* stream) {
    LOCK;
    stream_of(stream, "cuStreamDestroy");
    living.erase(stream);
    return SUCCESS;
}

API int cuStreamSynchronize(void* handle) {
    LOCK;
    Stream& stream = stream_of(handle, "cuStreamSynchronize");
    begin(stream);
    host_waits(stream.clock);
    count_wait();
    settle_pool(*stream.device);
    return SUCCESS;
}

API int cuStreamQuery(void* stream) { return cuStreamSynchronize(stream); }

API int cuCtxSynchronize(void) {
    LOCK;
    if (!current()) return INVALID_CONTEXT;
    for (auto& stream : streams)
        if (stream->device == current()) host_waits(stream->clock);
    count_wait();
    settle_pool(*current());
    return SUCCESS;
}

API int cuStreamIsCapturing(void*, int* status) {
    *status = 0;
    return SUCCESS;
}

API int cuStreamWaitEvent(void* handle, void* event, unsigned) {
    LOCK;
    Stream& stream = stream_of(handle, "cuStreamWaitEvent");
    Event& e = event_of(event, "cuStreamWaitEvent");
    if (e.recorded) join(stream.clock, e.clock);
    return SUCCESS;
}

API int cuLaunchHostFunc(void* handle, void (*call)(void*), void* data) {
    LOCK;
    begin(stream_of(handle, "cuLaunchHostFunc"));
    call(data);
    return SUCCESS;
}

API int cuEventCreate(void** to, unsigned) {
    LOCK;
    if (!current()) return INVALID_CONTEXT;
    *to = new Event;
    events.insert(*to);
    return SUCCESS;
}

API int cuEventRecord(void* event, void* handle) {
    LOCK;
    Event& e = event_of(event, "cuEventRecord");
    Stream& stream = stream_of(handle, "cuEventRecord");
    begin(stream);
    e.recorded = true;
    e.clock = stream.clock;
    e.at = now();
    return SUCCESS;
}

API int cuEventSynchronize(void* event) {
    LOCK;
    host_waits(event_of(event, "cuEventSynchronize").clock);
    count_wait();
    return SUCCESS;
}

API int cuEventQuery(void* event) { return cuEventSynchronize(event); }

API int cuEventDestroy_v2(void* event) {
    LOCK;
    event_of(event, "cuEventDestroy");
    events.erase(event);
    delete static_cast<Event*>(event);
    return SUCCESS;
}

API int cuEventElapsedTime(float* ms, void* begin, void* end) {
    LOCK;
    *ms = float(event_of(end, "cuEventElapsedTime").at - event_of(begin, "cuEventElapsedTime").at);
    return SUCCESS;
}

API int cuEventElapsedTime_v2(float* ms, void* begin, void* end) {
    return cuEventElapsedTime(ms, begin, end);
}
