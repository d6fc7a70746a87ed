variable "name" {
  type = string
}

variable "public" {
  type    = bool
  default = false
}

# A stand-in for a cloud bucket that needs no cloud: terraform plans, applies and remembers it all the same.
resource "terraform_data" "bucket" {
  input = {
    kind      = "storage_bucket"
    name      = var.name
    acl       = var.public ? "public-read" : "private"
    encrypted = true
  }
}

output "name" {
  value = terraform_data.bucket.output.name
}
