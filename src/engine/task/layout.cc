// SPDX-License-Identifier: LGPL-2.1-or-later
// The executable, the program break, and where arguments, environment and auxiliary vector lie (PR_SET_MM_MAP).
#include <linux/prctl.h>
#include <sys/syscall.h>

#include "base/file.h"
#include "engine/layout.pb.h"
#include "engine/task/room.h"

namespace ks::engine {

namespace {

Result<> dump(Dumping& dumping, DumpedProcess& process, const TaskRoom& room) {
  StoppedProcess& stopped = process.stopped;
  const StatLine& stat = stopped.stat;
  image::Layout out;
  out.set_start_code(stat.start_code);
  out.set_end_code(stat.end_code);
  out.set_start_data(stat.start_data);
  out.set_end_data(stat.end_data);
  out.set_start_brk(stat.start_brk);
  out.set_start_stack(stat.start_stack);
  out.set_arg_start(stat.arg_start);
  out.set_arg_end(stat.arg_end);
  out.set_env_start(stat.env_start);
  out.set_env_end(stat.env_end);
  out.set_auxv(TRY(read_file(stopped.proc("auxv"))));
  std::string link = stopped.proc("exe");
  auto executable = dumping.mapped_file(link, false, false);
  if (!executable && executable.error().refusal) {
    dumping.refuse(stopped.pid, "executable", executable.error().what);
    return {};
  }
  out.set_executable(TRY(std::move(executable)));
  out.set_brk(process.answers.program_break);
  process.put(room.name, room.version, out);
  return {};
}

Result<> restore(Restoring& restoring, RestoredProcess& process, const TaskRoom& room) {
  auto layout = TRY(process.read<image::Layout>(room.name, room.version));
  RemoteAddress auxv = process.scratch + sizeof(prctl_mm_map);
  prctl_mm_map map{.start_code = layout.start_code(),
                   .end_code = layout.end_code(),
                   .start_data = layout.start_data(),
                   .end_data = layout.end_data(),
                   .start_brk = layout.start_brk(),
                   .brk = layout.brk(),
                   .start_stack = layout.start_stack(),
                   .arg_start = layout.arg_start(),
                   .arg_end = layout.arg_end(),
                   .env_start = layout.env_start(),
                   .env_end = layout.env_end(),
                   .auxv = reinterpret_cast<__u64*>(auxv.value),
                   .auxv_size = static_cast<__u32>(layout.auxv().size()),
                   .exe_fd = static_cast<__u32>(TRY(restoring.mapped_file(layout.executable())))};
  TRY(process.memory->write_value(process.scratch, map));
  TRY(process.memory->write(auxv, std::as_bytes(std::span(layout.auxv()))));
  TRY(in("PR_SET_MM_MAP", process.leader()(SYS_prctl, PR_SET_MM, PR_SET_MM_MAP, process.scratch, sizeof map, 0)));
  return {};
}

}  // namespace

extern const TaskRoom kLayout;
const TaskRoom kLayout{.name = "layout", .version = 1, .dump = dump, .restore = restore};

}  // namespace ks::engine
