//! Stories of one node's volumes: real filesystems whose disks fail, hang and slow down under a
//! recording node. As root, with the Debian packages that `holdfast_chaos::faulty` names; elsewhere
//! they are left out, loudly.

mod adopted;
mod failed;
mod full;
mod hung;
mod mounts;
mod retired;
mod rig;
mod slow;
