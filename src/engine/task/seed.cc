// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/task/seed.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "base/fd.h"
#include "base/file.h"
#include "engine/target/fork_beside.h"
#include "engine/target/process.h"

namespace ks::engine {

namespace {

constexpr uint64_t kTop = 0x7ffffffff000;           // of user addresses with four-level page tables
constexpr uint64_t kParkingSize = 1 << 20;          // scratch, and the largest vDSO with room to spare
constexpr uint64_t kStackRoom = uint64_t{1} << 30;  // below a stack, which it may grow into

// Every signal as a new program has it: nothing of our handlers, nor of their flags and masks, which signal(2) would
// leave.
void reset_handlers() {
  struct {
    uint64_t handler, flags, restorer, mask;
  } none{};
  for (int signal = 1; signal < NSIG; ++signal) ::syscall(SYS_rt_sigaction, signal, &none, nullptr, sizeof none.mask);
}

[[noreturn]] void wait_forever(pid_t engine, int ready) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != engine) ::_exit(1);  // it has died before it could be asked for
  ::sigset_t all;
  ::sigfillset(&all);
  ::sigprocmask(SIG_SETMASK, &all, nullptr);
  reset_handlers();
  if (::write(ready, "", 1) != 1) ::_exit(1);
  for (;;) ::pause();
}

Result<pid_t> fork_waiting(const std::set<pid_t>& taken) {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC)) return fail_errno("pipe");
  Fd reader(fds[0]), writer(fds[1]);
  pid_t pid = TRY(fork_beside(taken, [&, engine = ::getpid()] { wait_forever(engine, writer.get()); }));
  writer = Fd();
  std::byte said{};
  TRY(read_exactly(reader.get(), {&said, 1}, "the seed"));
  return pid;
}

Result<std::vector<Vma>> read_areas(pid_t pid) { return parse_maps(TRY(read_file(proc_path(pid, "maps")))); }

bool is_vdso_area(const Vma& area) { return area.path == "[vdso]" || area.path.starts_with("[vvar"); }

// The areas of the vDSO where they are now, and its bytes.
Result<ParkedVdso> find_vdso(const std::vector<Vma>& areas, const RemoteMemory& memory) {
  ParkedVdso vdso;
  std::ranges::copy_if(areas, std::back_inserter(vdso.areas), is_vdso_area);
  if (vdso.areas.empty() || vdso.code().path != "[vdso]") return fail("this kernel has no vDSO");
  vdso.image.resize(vdso.code().size());
  TRY(memory.read({vdso.code().start}, vdso.image));
  vdso.syscall_offset = find_syscall(vdso.image);
  if (vdso.syscall_offset == vdso.image.size()) return fail("the vDSO holds no system call");
  return vdso;
}

// Everything goes but the scratch area and the vDSO, which move to the parking.
Result<> empty(RestoredThread& thread, const Parking& parking, ParkedVdso& vdso) {
  RemoteCalls& calls = thread.calls;
  auto rseq = TRY(thread.hold.rseq());
  if (rseq.address)  // the kernel would kill the task for its missing memory
    TRY(in("rseq", calls(SYS_rseq, rseq.address, rseq.size, 1, rseq.signature)));
  uint64_t scratch = TRY(calls(SYS_mmap, parking.base, Parking::kScratchSize, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
  if (scratch != parking.base) return fail("the parking is taken");
  uint64_t from = vdso.areas.front().start;
  for (Vma& area : vdso.areas) {
    uint64_t to = parking.vdso() + (area.start - from);
    TRY(in("moving the vDSO",
           calls(SYS_mremap, area.start, area.size(), area.size(), MREMAP_MAYMOVE | MREMAP_FIXED, to)));
    area.end = to + area.size();
    area.start = to;
  }
  calls.move_instruction(vdso.code().start + vdso.syscall_offset);
  uint64_t end = parking.base + kParkingSize;
  TRY(in("emptying the seed", calls(SYS_munmap, 0, parking.base)));
  if (end < kTop) TRY(in("emptying the seed", calls(SYS_munmap, end, kTop - end)));
  return {};
}

}  // namespace

Result<Seed> Seed::plant(Restoring& restoring, const std::string& time_offsets, const std::set<pid_t>& taken) {
  Seed seed;
  seed.pid_ = TRY(fork_waiting(taken));
  SeizedThread thread = TRY(SeizedThread::seize(seed.pid_));
  TRY(thread.interrupt());
  if (TRY(thread.wait()) != SeizedThread::Stop::event) return fail("the seed does not stop");
  TRY(thread.kill_with_us());
  TRY(thread.set_signal_mask(kAllSignals));
  seed.memory_ = TRY(RemoteMemory::open(seed.pid_));
  restoring.vdso = TRY(find_vdso(TRY(read_areas(seed.pid_)), *seed.memory_));

  Registers base = TRY(thread.registers());
  base.fs_base = base.gs_base = 0;
  uint64_t instruction = restoring.vdso.code().start + restoring.vdso.syscall_offset;
  seed.thread_ = std::make_unique<RestoredThread>(std::move(thread), base, instruction);

  for (uint32_t id : restoring.namespaces.common()) {
    const auto& entry = restoring.namespaces.entries.at(id);
    TRY(in("setns", seed.calls()(SYS_setns, entry.fd.get(), entry.flag)));
  }
  if (restoring.kernel.time_namespace) {
    TRY(in("time namespace", seed.calls()(SYS_unshare, CLONE_NEWTIME)));
    TRY(write_value(proc_path(seed.pid_, "timens_offsets"), time_offsets));
  }
  TRY(empty(*seed.thread_, restoring.parking, restoring.vdso));
  return seed;
}

Seed::~Seed() {
  if (!pid_) return;
  ::kill(pid_, SIGKILL);
  if (thread_) thread_->hold.forget();
  ::waitpid(pid_, nullptr, __WALL);
}

Result<Parking> choose_parking(std::vector<AddressRange> used) {
  for (auto& range : used)
    if (range.grows_down) range.start -= std::min(range.start, kStackRoom);
  std::ranges::sort(used, std::greater{}, &AddressRange::end);
  uint64_t ceiling = kTop;
  for (const auto& range : used) {
    if (range.start >= kTop) continue;  // [vsyscall]
    if (range.end + kParkingSize <= ceiling) break;
    ceiling = std::min(ceiling, range.start);
  }
  if (ceiling < 2 * kParkingSize) return fail("no room is left in the address space");
  return Parking{.base = ceiling - kParkingSize};
}

}  // namespace ks::engine
