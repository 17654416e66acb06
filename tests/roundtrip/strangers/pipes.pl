# SPDX-License-Identifier: LGPL-2.1-or-later
# Children that compute and answer through pipes, select with a time-out, an alarm, hashes and regular expressions.
use strict;
use warnings;
use Digest::SHA qw(sha256_hex);
use IO::Select;
use Time::HiRes qw(setitimer ITIMER_REAL usleep);

my ($size) = @ARGV;
my $alarms = 0;
$SIG{ALRM} = sub { $alarms++ };
setitimer(ITIMER_REAL, 0.005, 0.005);

my $readers = IO::Select->new;
my %name;
for my $child (1 .. 4) {
    pipe(my $reader, my $writer) or die "pipe: $!";
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        close $reader;
        $SIG{ALRM} = 'DEFAULT';
        $writer->autoflush(1);
        my %words;
        for my $n (1 .. $size) {
            my $digest = sha256_hex("$child $n");
            $words{$1}++ while $digest =~ /([a-f]+)/g;
            usleep(2000) if $n % 100 == 0;
            print {$writer} "$n $digest " . scalar(keys %words) . "\n" or die "write: $!";
        }
        exit 10 + $child;
    }
    close $writer;
    $readers->add($reader);
    $name{fileno $reader} = $child;
}

my (%pending, %expected);
my $all = Digest::SHA->new(256);
my %lines;
while ($readers->count) {
    for my $reader ($readers->can_read(0.05)) {
        my $child = $name{fileno $reader};
        my $got = sysread($reader, my $text, 4096);
        if (!defined $got) { next if $!{EINTR}; die "read: $!" }
        if (!$got) { $readers->remove($reader); next }
        $pending{$child} .= $text;
        while ($pending{$child} =~ s/^(.*)\n//) {
            my ($n, $digest) = split / /, $1;
            die "child $child says $n" if $n != ++$expected{$child};
            die "wrong digest" if $digest ne sha256_hex("$child $n");
            push @{ $lines{$child} }, $1;
        }
    }
}
for my $child (sort keys %lines) { $all->add(join "\n", @{ $lines{$child} }) }
setitimer(ITIMER_REAL, 0);
my %ends;
while ((my $pid = wait) != -1) { $ends{ $? >> 8 }++ }
die "no alarms" if !$alarms;
print join(' ', $all->hexdigest, sort keys %ends), "\n";
