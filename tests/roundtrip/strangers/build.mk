# SPDX-License-Identifier: LGPL-2.1-or-later
# Many small C files, each written, compiled and linked into one program, which is run.
sources := $(foreach n,$(shell seq $(SIZE)),part$(n).c)
objects := $(sources:.c=.o)

answer: program
	@./program

program: main.o $(objects)
	@gcc -o $@ $^

main.c:
	@{ for n in $$(seq $(SIZE)); do echo "unsigned part$$n(unsigned);"; done; \
	  echo '#include <stdio.h>'; echo 'int main(void) { unsigned sum = 1;'; \
	  for n in $$(seq $(SIZE)); do echo "sum = part$$n(sum);"; done; \
	  echo 'printf("%u", sum); }'; } > $@

part%.c:
	@{ echo '#include <stdio.h>'; echo '#include <math.h>'; \
	  for n in $$(seq 40); do echo "static unsigned f$$n(unsigned x) { for (unsigned i = 0; i < $$n; ++i) x = x * 31 + $*; return x; }"; done; \
	  echo "unsigned part$*(unsigned x) {"; for n in $$(seq 40); do echo "x += f$$n(x);"; done; echo 'return x; }'; } > $@

%.o: %.c
	@gcc -O2 -c -o $@ $<
