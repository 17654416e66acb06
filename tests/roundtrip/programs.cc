// SPDX-License-Identifier: LGPL-2.1-or-later
#include "programs.h"

#include <ostream>

namespace ks::test {

namespace {

const std::vector<Program> kPrograms = {
    {"advice"},
    {"alternate_stack"},
    {"anonymous"},
    {"clocks"},
    {"control_groups"},
    {"copy_on_write", {"huge"}},
    {"copy_on_write", {"orphans"}},
    {"copy_on_write", {"parent"}},
    {"credentials", {"capable"}},
    {"credentials", {"mixed"}},
    {"credentials", {"secure"}},
    {"credentials", {"user"}},
    {"deadlines", {}, false},
    {"deleted_executable"},
    {"deleted_files"},
    {"devices"},
    {"directories"},
    {"directories", {"chroot"}},
    {"directories", {"deleted"}},
    {"directories", {"memory"}},
    {"directories", {"outside"}},
    {"directory_reading"},
    {"epolls"},
    {"eventfds"},
    {"fifos"},
    {"files"},
    {"files_in_memory"},
    {"floating_point"},
    {"guard_pages"},
    {"handlers"},
    {"heap"},
    {"huge_pages"},
    {"huge_tlb"},
    {"inotify"},
    {"inotify", {"chroot"}},
    {"interval_timers"},
    {"kernel_files"},
    {"keyrings"},
    {"locks"},
    {"many"},
    {"memfds"},
    {"memfds", {"huge"}},
    {"names", {"argument"}},
    {"namespaces", {"ipc"}},
    {"namespaces", {"net"}},
    {"namespaces", {"user"}},
    {"namespaces", {"uts"}},
    {"namespaces", {"user", "uts", "ipc", "net"}},
    {"orphans", {"deep", "100"}, false},
    {"orphans", {"orphans"}},
    {"orphans", {"wide", "200"}, false},
    {"parent_death"},
    {"parent_death", {"user"}},
    {"pending"},
    {"pid_namespaces"},
    {"pidfds"},
    {"pipes"},
    {"posix_timers", {}, false},
    {"private_file"},
    {"protections"},
    {"registers"},
    {"renamed_files"},
    {"robust"},
    {"rseq"},
    {"seccomp", {"privileged"}},
    {"seccomp", {"unprivileged"}},
    {"settings"},
    {"shared_anonymous"},
    {"shared_file"},
    {"sharing", {"descriptors"}},
    {"sharing", {"directories"}},
    {"sharing", {"descriptors", "directories"}},
    {"sharing_siblings"},
    {"signal_storm", {}, false},
    {"signalfds"},
    {"sleeps"},
    {"stack"},
    {"stop_storm", {}, false},
    {"stopped", {}, false},
    {"stopped_twice", {}, false},
    {"suspended"},
    {"system_v_memory", {}, false},
    {"system_v_memory", {"own"}, false},
    {"system_v_queues"},
    {"system_v_queues", {"own"}},
    {"system_v_semaphores"},
    {"system_v_semaphores", {"own"}},
    {"thread_churn", {}, false},
    {"terminals"},
    {"thread_directories"},
    {"thread_settings"},
    {"threads"},
    {"time_outs", {}, false, false},
    {"timerfds", {}, false},
    {"trap", {"blocked"}},
    {"trap", {"handled"}},
    {"trap", {"ignored"}},
    {"tree"},
    {"vfork", {}, false},
    {"waits"},
    {"worker.py", {}, false},
    {"zombies"},
};

}  // namespace

std::string Program::label() const {
  std::string text = name.substr(0, name.find('.'));
  for (const auto& argument : arguments) text += "_" + argument;
  return text;
}

std::ostream& operator<<(std::ostream& out, const Program& program) { return out << program.label(); }

const std::vector<Program>& all_programs() { return kPrograms; }

}  // namespace ks::test
