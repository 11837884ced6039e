"""Functions, by their names, of libraries that the process has loaded."""

cdef extern from *:
    """
    #ifdef _WIN32
    #include <windows.h>
    static inline void *librats_loaded(const char *name) {
        return (void *)GetModuleHandleA(name);
    }
    static inline void *librats_function(void *library, const char *name) {
        return (void *)GetProcAddress((HMODULE)library, name);
    }
    #else
    #include <dlfcn.h>
    static inline void *librats_loaded(const char *name) {
        /* A look-up in a module goes on to the libraries that it is linked to. */
        return dlopen(name, RTLD_LAZY | RTLD_LOCAL);
    }
    static inline void *librats_function(void *library, const char *name) {
        return dlsym(library, name);
    }
    #endif
    """
    void* loaded "librats_loaded"(const char* name) noexcept
    void* function_named "librats_function"(void* library, const char* name) noexcept nogil
