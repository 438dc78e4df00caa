// Runs the tests whose name contains the first argument. All of them together launch every kernel.
#include <chrono>

#include "emulator/check.h"

int main(int count, char** arguments) {
    const std::string wanted = count > 1 ? arguments[1] : "";
    int run = 0;
    for (const check::Test& test : check::tests()) {
        if (std::string(test.name).find(wanted) == std::string::npos) continue;
        auto start = std::chrono::steady_clock::now();
        std::printf("%s\n", test.name);
        check::generator.seed(1);
        test.run();
        std::printf("  %.1f s\n", std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
        run++;
    }
    if (run == 0) std::printf("no test is named *%s*\n", wanted.c_str());
    for (const char* kernel : KERNELS)
        if (wanted.empty() && !check::launched.count(kernel)) std::printf("no test launches %s\n", kernel), check::failed = true;
    return check::failed || run == 0 ? 1 : 0;
}
