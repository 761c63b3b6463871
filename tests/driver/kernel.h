// Registers a kernel compiled for the host with the driver: put KNOWN(name) after its source.
#pragma once
#include "driver.h"

namespace driver {

template <class T>
struct Describe {
    static Parameter get() { return {sizeof(T), 0, false, false}; }
};
template <class T>
struct Describe<T*> {
    static Parameter get() {
        constexpr bool table = std::is_same<T, const unsigned long long>::value;
        return {sizeof(T*), unsigned(sizeof(T)), !std::is_const<T>::value, table};
    }
};

template <class... A>
std::vector<Parameter> describe(void (*)(A...)) {
    return {Describe<A>::get()...};
}

}  // namespace driver

#define KNOWN(NAME)                                                                             \
    static const bool known_##NAME = driver::add(                                               \
        {#NAME, driver::describe(NAME),                                                         \
         [](const unsigned* grid, const unsigned* block, unsigned shared, void** args) {        \
             return emulation::run(grid, block, shared, 0, args, [] { emulation::call(NAME); }); \
         }});
